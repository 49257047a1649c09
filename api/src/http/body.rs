//! Request bodies: read up to the limit, parsed strictly, and all their faults told at once.

use bytes::Bytes;
use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    error::ContentTypeError,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::{ParseFromJSON, Type},
};
use serde_json::Value;

use super::diagnose;
use crate::{
    error::{ApiError, ApiResult},
    state::AppState,
};

/// A JSON body parsed as `T`. Declare `T` with `#[oai(deny_unknown_fields)]`.
///
/// 400 `malformed` for what is no JSON, 422 `validation` with every missing, unknown and mistyped field for what is no `T`,
/// 413 beyond `api.body_limit_bytes`, 415 for another media type.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<'a, T: ParseFromJSON + 'static> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let schema = T::schema_ref();
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType { content_type: "application/json", schema }],
            required: T::IS_REQUIRED,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        check_content_type(request)?;
        let bytes = read(request, body).await?;
        Ok(Self(parse(&bytes)?))
    }
}

/// 415 unless the body is JSON.
pub fn check_content_type(request: &Request) -> poem::Result<()> {
    let Some(content_type) = request.content_type() else {
        return Err(ContentTypeError::ExpectContentType.into());
    };
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 17
            && essence[..12].eq_ignore_ascii_case("application/")
            && essence[essence.len() - 5..].eq_ignore_ascii_case("+json"));
    if json {
        Ok(())
    } else {
        Err(ContentTypeError::NotSupported { content_type: essence.to_owned() }.into())
    }
}

fn parse<T: ParseFromJSON + 'static>(bytes: &[u8]) -> ApiResult<T> {
    if bytes.is_empty() {
        return Err(ApiError::malformed("the body is empty; JSON was expected"));
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|e| ApiError::malformed(format!("the body is not JSON: {e}")))?;
    if let Some(place) = nul(&value) {
        let place = if place.is_empty() { "the body".to_owned() } else { place };
        return Err(ApiError::malformed(format!("{place} holds a NUL (\\u0000), which no text here may")));
    }
    let faults = diagnose::faults::<T>(&value);
    if !faults.is_empty() {
        return Err(ApiError::validation(faults));
    }
    // What no schema says, such as a number that no type here can hold.
    T::parse_from_json(Some(value)).map_err(|e| {
        let message = e.message().split(" (occurred while parsing").next().unwrap_or_default().to_owned();
        ApiError::field("body", "invalid", message)
    })
}

/// Where a text holds a NUL, names of members included: Postgres can keep none, neither as text nor as JSON. An empty place
/// is the whole value.
fn nul(value: &Value) -> Option<String> {
    let below = |name: &str, value: &Value| {
        let place = nul(value)?;
        Some(if place.is_empty() || place.starts_with('[') {
            format!("{name}{place}")
        } else {
            format!("{name}.{place}")
        })
    };
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(place, item)| below(&format!("[{place}]"), item))
        }
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            if name.contains('\0') { Some(String::new()) } else { below(name, value) }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// The body's bytes as they came, up to `api.body_limit_bytes`: for signatures and fingerprints.
#[derive(Debug)]
pub struct RawBody(pub Bytes);

impl<'a> ApiExtractor<'a> for RawBody {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Value::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let schema = Value::schema_ref();
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType { content_type: "application/json", schema }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self(read(request, body).await?))
    }
}

impl RawBody {
    /// The bytes parsed as [`Body`] parses them.
    pub fn parse<T: ParseFromJSON + 'static>(&self) -> ApiResult<T> {
        parse(&self.0)
    }
}

/// Bodies without a length (chunked) pass the middleware's check; here they end at the limit.
async fn read(request: &Request, body: &mut RequestBody) -> poem::Result<Bytes> {
    let limit = AppState::of(request)?.config.api.body_limit_bytes;
    Ok(body.take()?.into_bytes_limit(limit).await?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_nul_is_found_wherever_it_is() {
        for (value, place) in [
            (json!({ "name": "a\0b" }), Some("name")),
            (json!({ "lines": [{ "sku": "A" }, { "sku": "\0" }] }), Some("lines[1].sku")),
            (json!({ "attributes": { "a": { "b\0": 1 } } }), Some("attributes.a")),
            (json!([["\0"]]), Some("[0][0]")),
            (json!("\0"), Some("")),
            (json!({ "name": "\u{1}\\u0000", "n": 0, "none": null }), None),
        ] {
            assert_eq!(nul(&value).as_deref(), place, "{value}");
        }
    }
}
