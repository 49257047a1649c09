//! RFC 9457 on the wire and in the `OpenAPI` document.

use poem::{IntoResponse, Response, error::ResponseError, http::header};
use poem_openapi::{
    ApiResponse, Object,
    registry::{MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::Type,
};
use serde_json::{Value, json};

use super::{ApiError, codes};

/// Every error of this API (RFC 9457). Some codes have members of their own, such as `state`, `available` and `total`.
#[derive(Debug, Object)]
pub struct Problem {
    /// `/problems/` and the code.
    pub r#type: String,
    /// What the code means.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time, for people.
    pub detail: String,
    /// Stable, for programs.
    pub code: String,
    /// To find the request in the logs.
    pub request_id: String,
    /// The fields at fault, all of them; only with the code `validation`.
    #[oai(skip_serializing_if_is_none)]
    pub errors: Option<Vec<ProblemField>>,
}

/// A field that cannot be used.
#[derive(Debug, Object)]
pub struct ProblemField {
    /// Where it is: `email`, `lines[2].quantity`, a query parameter by its name.
    pub field: String,
    /// Stable, for programs: `required`, `unknown_field`, `type`, `invalid`, `too_long`, ...
    pub code: String,
    /// For people.
    pub message: String,
}

const MEDIA_TYPE: &str = "application/problem+json";

impl ApiError {
    /// The response, with the request's id in the body. Headers that belong to the problem (`Retry-After`,
    /// `WWW-Authenticate`) are set.
    pub fn to_response(&self, request_id: &str) -> Response {
        let error = &self.0;
        let mut body = error.members.clone();
        body.insert("type".into(), Value::String(format!("/problems/{}", error.code)));
        body.insert("title".into(), codes::title(error.code).into());
        body.insert("status".into(), error.status.as_u16().into());
        body.insert("detail".into(), error.detail.as_str().into());
        body.insert("code".into(), error.code.into());
        body.insert("request_id".into(), request_id.into());
        if !error.errors.is_empty() {
            let errors = error.errors.iter();
            let errors = errors.map(|e| json!({ "field": e.field, "code": e.code, "message": e.message }));
            body.insert("errors".into(), errors.collect());
        }
        let mut response = Response::builder().status(error.status).content_type(MEDIA_TYPE);
        if let Some(after) = error.retry_after {
            // Whole seconds, never 0: a client that obeys must not come back too early.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response = response.header(header::RETRY_AFTER, seconds.max(1));
        }
        if error.status == poem::http::StatusCode::UNAUTHORIZED {
            response = response.header(header::WWW_AUTHENTICATE, "Bearer");
        }
        if error.status == poem::http::StatusCode::PAYLOAD_TOO_LARGE {
            // The rest of the body is not read, so the connection ends here: a client that is not told sends its next
            // request into the void.
            response = response.header(header::CONNECTION, "close");
        }
        response.body(Value::Object(body).to_string())
    }
}

// The boundary renders errors with their request's id; this is for endpoints served without it.
impl ResponseError for ApiError {
    fn status(&self) -> poem::http::StatusCode {
        self.0.status
    }

    fn as_response(&self) -> Response {
        self.to_response("")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.to_response("")
    }
}

impl ApiResponse for ApiError {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse {
                description: "A problem: see its code",
                status: None,
                status_range: None,
                content: vec![MetaMediaType { content_type: MEDIA_TYPE, schema: Problem::schema_ref() }],
                headers: vec![],
            }],
        }
    }

    fn register(registry: &mut Registry) {
        Problem::register(registry);
    }
}
