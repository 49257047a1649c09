//! Entity tags and the answers that carry them.

use poem::{IntoResponse, Request, Response, http::StatusCode, http::header};
use poem_openapi::{
    ApiResponse,
    payload::Payload,
    registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::{ToJSON, Type},
};
use sha2::{Digest, Sha256};

use super::reply::json_type;

/// A strong entity tag, quotes included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// `"v7"`: the version of one row.
    pub fn version(version: i64) -> Self {
        Self(format!("\"v{version}\""))
    }

    /// A tag of the content itself, for lists.
    pub fn of(bytes: &[u8]) -> Self {
        let hash = Sha256::digest(bytes);
        Self(format!("\"{}\"", hex::encode(&hash[..12])))
    }

    /// The header's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the client has this already: `If-None-Match` names the tag or is `*`.
    pub fn matches(&self, request: &Request) -> bool {
        request
            .headers()
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.0)
    }
}

/// 200 with `ETag` and `Cache-Control`, or 304 without a body.
pub struct Cached<T> {
    body: Option<String>,
    etag: ETag,
    cache_control: &'static str,
    marker: std::marker::PhantomData<T>,
}

impl<T: ToJSON> Cached<T> {
    /// The tag is made of the rendered content.
    pub fn of_content(request: &Request, value: &T, cache_control: &'static str) -> Self {
        let body = value.to_json_string();
        let etag = ETag::of(body.as_bytes());
        let body = (!etag.matches(request)).then_some(body);
        Self { body, etag, cache_control, marker: std::marker::PhantomData }
    }

    /// The tag is known from the version.
    pub fn of_version(request: &Request, value: &T, etag: ETag, cache_control: &'static str) -> Self {
        let body = (!etag.matches(request)).then(|| value.to_json_string());
        Self { body, etag, cache_control, marker: std::marker::PhantomData }
    }
}

impl<T> IntoResponse for Cached<T>
where
    T: Send,
{
    fn into_response(self) -> Response {
        let builder = Response::builder()
            .header(header::ETAG, self.etag.as_str())
            .header(header::CACHE_CONTROL, self.cache_control);
        match self.body {
            Some(body) => builder.content_type(json_type()).body(body),
            None => builder.status(StatusCode::NOT_MODIFIED).finish(),
        }
    }
}

impl<T: Type + ToJSON> ApiResponse for Cached<T> {
    fn meta() -> MetaResponses {
        let etag = || MetaHeader {
            name: "ETag".to_owned(),
            description: Some("Pass it back in If-None-Match".to_owned()),
            required: true,
            deprecated: false,
            schema: String::schema_ref(),
        };
        let body = MetaMediaType {
            content_type: poem_openapi::payload::Json::<T>::CONTENT_TYPE,
            schema: T::schema_ref(),
        };
        let response = |description, status, content| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content,
            headers: vec![etag()],
        };
        MetaResponses {
            responses: vec![response("", 200, vec![body]), response("You have it already", 304, vec![])],
        }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}
