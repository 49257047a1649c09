//! One error type for every handler, one way out: RFC 9457 problem details.
//!
//! A handler returns [`ApiError`]; the boundary middleware logs it once, with the request's id, and renders it. What the
//! client may not know (statements, addresses, causes) stays in the log.

pub mod codes;
mod convert;
mod fields;
mod foreign;
mod problem;

use std::{panic::Location, time::Duration};

use poem::http::StatusCode;
use serde_json::{Map, Value};

pub use self::{
    convert::constraint,
    fields::{FieldError, FieldErrors},
    foreign::{from_poem, too_large},
    problem::{Problem, ProblemField},
};

/// What a handler answers.
pub type ApiResult<T> = Result<T, ApiError>;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a request was not served as asked.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", .0.code, .0.detail)]
pub struct ApiError(Box<Inner>);

// Boxed, so that every Result of a handler stays small.
#[derive(Debug)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    retry_after: Option<Duration>,
    cause: Option<Cause>,
    location: &'static Location<'static>,
}

impl ApiError {
    /// An error of the given status and stable code (see [`codes`]); `detail` is for people and may be shown to anybody.
    #[track_caller]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            members: Map::new(),
            retry_after: None,
            cause: None,
            location: Location::caller(),
        }))
    }

    /// 400: the body is no JSON, a header is no header.
    #[track_caller]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, codes::MALFORMED, detail)
    }

    /// 422: well-formed, with fields that cannot be used.
    #[track_caller]
    pub fn validation(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.message),
            many => format!("{} fields cannot be used", many.len()),
        };
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, codes::VALIDATION, detail);
        error.0.errors = errors;
        error
    }

    /// 422 for one field.
    #[track_caller]
    pub fn field(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self::validation(vec![FieldError { field: field.into(), code, message: message.into() }])
    }

    /// 401: no credentials, or none that count.
    #[track_caller]
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, codes::UNAUTHENTICATED, detail)
    }

    /// 403: known, and not allowed to.
    #[track_caller]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, codes::FORBIDDEN, detail)
    }

    /// 404: `what` ("product", "order") does not exist, or not for this caller.
    #[track_caller]
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, codes::NOT_FOUND, format!("there is no such {what}"))
    }

    /// 409 with a code of its own.
    #[track_caller]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 429, with the time after which another try makes sense.
    #[track_caller]
    pub fn rate_limited(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, codes::RATE_LIMITED, detail).retry_after(retry_after)
    }

    /// 503, with the time after which another try makes sense.
    #[track_caller]
    pub fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, codes::UNAVAILABLE, detail).retry_after(retry_after)
    }

    /// 500: our fault. The client learns nothing of the cause; the log gets all of it.
    #[track_caller]
    pub fn internal(cause: impl Into<Cause>) -> Self {
        let error = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            codes::INTERNAL,
            "something went wrong on our side; the request id leads us to it",
        );
        error.because(cause)
    }

    /// Adds a member to the problem, such as `available` or `total`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// Adds `Retry-After`, in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Adds what the log, and only the log, is told.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The fields at fault.
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// Writes the one log line of this error. A client's mistakes are only of interest to those who look for them.
    pub fn log(&self) {
        let error = &self.0;
        let (status, code, detail) = (error.status.as_u16(), error.code, error.detail.as_str());
        let cause = error.cause.as_deref().map(causes);
        let at = tracing::field::display(error.location);
        if error.status.is_server_error() {
            tracing::error!(status, code, detail, cause, at, "request failed");
        } else {
            tracing::debug!(status, code, detail, cause, at, "request refused");
        }
    }
}

/// The error and its sources on one line.
fn causes(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = cause.source();
    }
    text
}
