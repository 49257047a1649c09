//! The framework's own errors, in our words.

use poem::{
    error::{MethodNotAllowedError, NotFoundError, ReadBodyError},
    http::StatusCode,
};
use poem_openapi::error::{
    AuthorizationError, ContentTypeError, ParseMultipartError, ParseParamError, ParsePathError,
    ParseRequestPayloadError,
};

use super::{ApiError, codes};

/// Whatever came out of the router or a handler, as an [`ApiError`].
pub fn from_poem(error: poem::Error) -> ApiError {
    let error = match error.downcast::<ApiError>() {
        Ok(error) => return error,
        Err(error) => error,
    };
    if error.is::<NotFoundError>() {
        return ApiError::not_found("resource");
    }
    if error.is::<MethodNotAllowedError>() {
        return ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            codes::METHOD_NOT_ALLOWED,
            "the resource does not know this method; see the Allow header",
        );
    }
    if let Some(body) = error.downcast_ref::<ReadBodyError>() {
        return match body {
            ReadBodyError::PayloadTooLarge => too_large(),
            ReadBodyError::Utf8(_) => ApiError::malformed("the body is not UTF-8"),
            ReadBodyError::Io(_) => ApiError::malformed("the body broke off"),
            ReadBodyError::BodyHasBeenTaken => ApiError::internal(error),
        };
    }
    // A path that cannot be an id names nothing.
    if error.is::<ParsePathError>() || error.is::<poem::error::ParsePathError>() {
        return ApiError::not_found("resource");
    }
    if let Some(param) = error.downcast_ref::<ParseParamError>() {
        return ApiError::field(param.name, "invalid", reason(&param.reason));
    }
    if let Some(payload) = error.downcast_ref::<ParseRequestPayloadError>() {
        return ApiError::malformed(reason(&payload.reason));
    }
    if let Some(multipart) = error.downcast_ref::<ParseMultipartError>() {
        return ApiError::malformed(reason(&multipart.reason));
    }
    if let Some(content_type) = error.downcast_ref::<ContentTypeError>() {
        return ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            codes::UNSUPPORTED_MEDIA_TYPE,
            content_type.to_string(),
        );
    }
    if error.is::<AuthorizationError>() {
        return ApiError::unauthenticated("credentials are required");
    }
    by_status(error)
}

/// 413 with the reason everybody gets.
pub fn too_large() -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        codes::PAYLOAD_TOO_LARGE,
        "the body is larger than this resource takes",
    )
}

fn by_status(error: poem::Error) -> ApiError {
    let status = error.status();
    let code = match status {
        StatusCode::UNAUTHORIZED => codes::UNAUTHENTICATED,
        StatusCode::FORBIDDEN => codes::FORBIDDEN,
        StatusCode::NOT_FOUND => codes::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED => codes::METHOD_NOT_ALLOWED,
        StatusCode::CONFLICT => codes::CONFLICT,
        StatusCode::PAYLOAD_TOO_LARGE => codes::PAYLOAD_TOO_LARGE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => codes::UNSUPPORTED_MEDIA_TYPE,
        StatusCode::UNPROCESSABLE_ENTITY => codes::VALIDATION,
        StatusCode::TOO_MANY_REQUESTS => codes::RATE_LIMITED,
        StatusCode::SERVICE_UNAVAILABLE => codes::UNAVAILABLE,
        status if status.is_client_error() => codes::MALFORMED,
        _ => return ApiError::internal(error),
    };
    ApiError::new(status, code, codes::title(code)).because(error)
}

/// The framework's parse messages name Rust types after the reason; people need the reason.
fn reason(message: &str) -> String {
    let message = message.split(" (occurred while parsing").next().unwrap_or(message);
    match message.strip_prefix("failed to parse \"").and_then(|rest| rest.split_once("\": ")) {
        Some((_, reason)) => reason.to_owned(),
        None => message.to_owned(),
    }
}
