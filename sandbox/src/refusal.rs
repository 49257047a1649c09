//! Everything the gateway can say no with, and how it says so: RFC 9457 problem documents with a stable `code`.

use std::borrow::Cow;
use std::sync::Arc;

use http::StatusCode;
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::money::Currency;

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the API key is missing or wrong")]
    Unauthorized,
    #[error("this operation needs an Idempotency-Key header of 1 to 255 visible ASCII characters")]
    KeyRequired,
    #[error("the body is not valid: {0}")]
    Malformed(String),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body did not arrive in time")]
    SlowBody,
    #[error("{field} {detail}")]
    Invalid { field: &'static str, detail: Cow<'static, str> },
    #[error("no such payment method token in the sandbox")]
    UnknownToken,
    #[error("no such {0}")]
    NotFound(&'static str),
    #[error("{0}")]
    Route(StatusCode),
    #[error("the authorization is in {expected}, the request in {given}")]
    CurrencyMismatch { expected: Currency, given: Currency },
    #[error("the idempotency key was used before with another request")]
    KeyReused,
    #[error("a request with this idempotency key is still being processed")]
    InProgress,
    #[error("the payment was declined")]
    Declined { decline_code: Arc<str> },
    #[error("the authorization was declined: there is nothing held")]
    AuthorizationDeclined,
    #[error("the authorization was voided")]
    AuthorizationVoided,
    #[error("the authorization was captured: refund it instead")]
    AlreadyCaptured,
    #[error("the capture would exceed the authorization: {left} left")]
    CaptureExceedsAuthorized { left: Decimal },
    #[error("the refund would exceed the capture: {left} left")]
    RefundExceedsCaptured { left: Decimal },
    #[error("too many requests")]
    RateLimited { retry_after_secs: u64 },
    #[error("an internal error occurred")]
    Internal,
    #[error("the request was not answered in time")]
    TimedOut,
    #[error("the gateway cannot write its journal")]
    JournalUnavailable,
    #[error("the list of faults is full ({0})")]
    TooManyFaults(usize),
}

impl Refusal {
    pub(crate) fn invalid(field: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid { field, detail: detail.into() }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::KeyRequired | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::Invalid { .. } | Self::UnknownToken | Self::CurrencyMismatch { .. } | Self::KeyReused => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Route(status) => *status,
            Self::Declined { .. } => StatusCode::PAYMENT_REQUIRED,
            Self::InProgress
            | Self::AuthorizationDeclined
            | Self::AuthorizationVoided
            | Self::AlreadyCaptured
            | Self::CaptureExceedsAuthorized { .. }
            | Self::RefundExceedsCaptured { .. }
            | Self::TooManyFaults(_) => StatusCode::CONFLICT,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::JournalUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::KeyRequired => "idempotency_key_required",
            Self::Malformed(_) => "malformed_body",
            Self::TooLarge(_) => "body_too_large",
            Self::SlowBody => "request_timeout",
            Self::Invalid { .. } => "invalid_request",
            Self::UnknownToken => "unknown_token",
            Self::NotFound(_) | Self::Route(StatusCode::NOT_FOUND) => "not_found",
            Self::Route(StatusCode::METHOD_NOT_ALLOWED) => "method_not_allowed",
            Self::Route(_) => "bad_request",
            Self::CurrencyMismatch { .. } => "currency_mismatch",
            Self::KeyReused => "idempotency_key_reused",
            Self::InProgress => "in_progress",
            Self::Declined { .. } => "declined",
            Self::AuthorizationDeclined => "authorization_declined",
            Self::AuthorizationVoided => "authorization_voided",
            Self::AlreadyCaptured => "already_captured",
            Self::CaptureExceedsAuthorized { .. } => "capture_exceeds_authorized",
            Self::RefundExceedsCaptured { .. } => "refund_exceeds_captured",
            Self::RateLimited { .. } => "rate_limited",
            Self::Internal => "internal_error",
            Self::TimedOut => "timeout",
            Self::JournalUnavailable => "journal_unavailable",
            Self::TooManyFaults(_) => "too_many_faults",
        }
    }

    /// Whether the operation was carried out to this answer, which the idempotency key then repeats for ever. The
    /// others happened before anything was decided: the same key may be used again.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Declined { .. }
                | Self::AuthorizationDeclined
                | Self::AuthorizationVoided
                | Self::AlreadyCaptured
                | Self::CaptureExceedsAuthorized { .. }
                | Self::RefundExceedsCaptured { .. }
        )
    }

    /// The problem document.
    pub(crate) fn body(&self) -> Arc<RawValue> {
        #[derive(Serialize)]
        struct Document<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: String,
            code: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            field: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            decline_code: Option<&'a str>,
        }

        let status = self.status();
        let document = Document {
            r#type: format!("urn:waybill:sandbox:problem:{}", self.code()),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: self.to_string(),
            code: self.code(),
            field: match self {
                Self::Invalid { field, .. } => Some(field),
                Self::UnknownToken => Some("token"),
                Self::CurrencyMismatch { .. } => Some("currency"),
                _ => None,
            },
            decline_code: match self {
                Self::Declined { decline_code } => Some(decline_code),
                _ => None,
            },
        };
        raw(&document)
    }
}

/// `value` as JSON text. The types serialised here have string keys and no fallible parts, so `null` is never seen.
pub(crate) fn raw<T: Serialize>(value: &T) -> Arc<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned()).into()
}
