use std::{fmt, sync::Arc};

use poem::{FromRequest, Request, RequestBody, http::HeaderName};

/// `X-Request-Id`.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The name of one request in the answer, in problems and in the log.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    /// The client's own if it is sane (1 to 64 letters, digits, `-`, `_`, `.`), so that a caller can follow a request
    /// through its own systems; a new one otherwise.
    pub fn of(request: &Request) -> Self {
        let given = request.headers().get(&HEADER).and_then(|value| value.to_str().ok());
        let sane = |id: &&str| {
            (1..=64).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        match given.filter(sane) {
            Some(id) => Self(id.into()),
            None => Self(waybill_schema::new_id().to_string().into()),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'a> FromRequest<'a> for RequestId {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> poem::Result<Self> {
        Ok(request.data::<Self>().cloned().unwrap_or_else(|| Self::of(request)))
    }
}
