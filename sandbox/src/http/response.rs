//! Writing answers: objects as JSON, refusals as problem documents.

use http::StatusCode;
use poem::error::ResponseError;
use poem::{Error, Response};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::gateway::Answer;
use crate::refusal::{Refusal, raw};

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

impl ResponseError for Refusal {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn as_response(&self) -> Response {
        let answer = with_body(self.status(), PROBLEM, &self.body());
        match self {
            Self::RateLimited { retry_after_secs } => {
                with_header(answer, "retry-after", &retry_after_secs.to_string())
            }
            Self::Unauthorized => with_header(answer, "www-authenticate", "Bearer"),
            _ => answer,
        }
    }
}

/// Any error of the framework (no such route, wrong method) in the same form as the gateway's own.
pub(crate) fn of_error(error: Error) -> Response {
    if error.is::<Refusal>() || error.is_from_response() {
        return error.into_response();
    }
    let status = error.status();
    if status.is_server_error() {
        tracing::error!(%error, "request failed");
        return Refusal::Internal.as_response();
    }
    Refusal::Route(status).as_response()
}

/// `value` as JSON.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    with_body(status, JSON, &raw(value))
}

/// An answer of the gateway, with the mark of a repeated one.
pub(crate) fn of_answer(answer: &Answer) -> Response {
    let status = StatusCode::from_u16(answer.status_code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let response = with_body(status, if answer.problem { PROBLEM } else { JSON }, &answer.body);
    if answer.replayed { with_header(response, "idempotent-replayed", "true") } else { response }
}

fn with_body(status: StatusCode, content_type: &str, body: &RawValue) -> Response {
    Response::builder().status(status).content_type(content_type).body(body.get().to_owned())
}

fn with_header(mut response: Response, name: &'static str, value: &str) -> Response {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
    response
}
