//! `Idempotency-Key`: the same request sent twice has one effect and one answer.

use std::time::Duration;

use poem::{Request, RequestBody, http::StatusCode};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaRequest, Registry},
    types::ParseFromJSON,
};
use sha2::{Digest, Sha256};
use waybill_schema::{
    Conn,
    idempotency::{self, Answer, Claim},
};

use crate::{
    error::{ApiError, ApiResult, codes},
    http::{Body, RawBody},
};

/// Characters of a key at most.
const MAX_LENGTH: usize = 255;
/// When to ask again for a request that is under way: most take milliseconds.
const RETRY: Duration = Duration::from_secs(1);

/// The key of a request, with what makes the request the same one.
#[derive(Debug, Clone)]
pub struct Key {
    scope: String,
    key: String,
    fingerprint: [u8; 32],
}

impl Key {
    /// The key in the header, if there is one. `scope` says whose it is (`user:<id>`, `api_key:<id>`, `cart:<id>`): keys of
    /// different callers have nothing to do with each other. `fingerprint` is of all that the request asks for.
    pub fn parse(header: Option<&str>, scope: String, fingerprint: [u8; 32]) -> ApiResult<Option<Self>> {
        let Some(key) = header else { return Ok(None) };
        if key.is_empty() || key.len() > MAX_LENGTH || !key.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(ApiError::field(
                "Idempotency-Key",
                "invalid",
                format!("must be 1 to {MAX_LENGTH} printable ASCII characters"),
            ));
        }
        Ok(Some(Self { scope, key: key.to_owned(), fingerprint }))
    }

    /// Looks the key up, first thing in the transaction that does the work: the answer given before, or nothing if the
    /// work is ours to do. 409 while another request does it, 422 if the key came with another request.
    pub async fn look(&self, conn: &Conn) -> ApiResult<Option<Answer>> {
        match idempotency::look(conn, &self.scope, &self.key, &self.fingerprint).await? {
            Claim::Ours => Ok(None),
            Claim::Done(answer) => Ok(Some(answer)),
            Claim::Mismatch => Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                codes::IDEMPOTENCY_MISMATCH,
                "this Idempotency-Key came with another request before",
            )),
            Claim::Running => Err(ApiError::conflict(
                codes::IDEMPOTENCY_IN_PROGRESS,
                "a request with this Idempotency-Key is under way; ask again",
            )
            .retry_after(RETRY)),
        }
    }

    /// Whether there is an answer under the key, to whatever request: one to a request that cannot be read yet.
    pub async fn is_known(&self, conn: &Conn) -> ApiResult<bool> {
        Ok(idempotency::is_known(conn, &self.scope, &self.key).await?)
    }

    /// Stores the answer, last thing in that transaction.
    pub async fn store(&self, conn: &Conn, answer: &Answer) -> ApiResult<()> {
        Ok(idempotency::store(conn, &self.scope, &self.key, &self.fingerprint, answer).await?)
    }
}

/// A JSON body, as [`Body`], with the fingerprint of method, path and bytes.
#[derive(Debug)]
pub struct KeyedBody<T> {
    /// The body.
    pub value: T,
    /// See [`Key::parse`].
    pub fingerprint: [u8; 32],
}

impl<'a, T: ParseFromJSON + 'static> ApiExtractor<'a> for KeyedBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Body::<T>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Body::<T>::request_meta()
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        crate::http::check_content_type(request)?;
        let body = RawBody::from_request(request, body, options).await?;
        let fingerprint = fingerprint(request, [body.0.as_ref()]);
        Ok(Self { value: body.parse()?, fingerprint })
    }
}

/// SHA-256 of method, path and `parts`, each with its length, so that no two requests read the same.
pub fn fingerprint<'p>(request: &Request, parts: impl IntoIterator<Item = &'p [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    };
    add(request.method().as_str().as_bytes());
    add(request.original_uri().path().as_bytes());
    parts.into_iter().for_each(add);
    hash.finalize().into()
}
