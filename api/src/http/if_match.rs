//! Writes that must not undo what somebody else wrote meanwhile: `ETag` out, `If-Match` in (RFC 9110).

use poem::{IntoResponse, Request, RequestBody, Response, http::StatusCode, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions,
    payload::{Json, Payload},
    registry::{
        MetaHeader, MetaMediaType, MetaParamIn, MetaResponse, MetaResponses, MetaSchemaRef, Registry,
    },
    types::{ToJSON, Type},
};

use super::{ETag, reply::json_type};
use crate::error::{ApiError, ApiResult, codes};

/// `If-Match`, if the client sent it: several tags, or several headers, count as one list.
#[derive(Debug)]
pub struct IfMatch(Option<String>);

impl IfMatch {
    /// 412 unless the header is missing, is `*`, or names the tag of what is there now. Call it with what is there locked, or
    /// somebody may change it in between.
    pub fn check(&self, current: &ETag) -> ApiResult<()> {
        let Some(tags) = &self.0 else { return Ok(()) };
        // A weak tag never matches here: it would let two different contents pass as one.
        if tags.split(',').map(str::trim).any(|tag| tag == "*" || tag == current.as_str()) {
            return Ok(());
        }
        let detail = "somebody has changed it since you read it; read it again and decide anew";
        let error = ApiError::new(StatusCode::PRECONDITION_FAILED, codes::PRECONDITION_FAILED, detail);
        Err(error.with("etag", current.as_str()))
    }
}

impl<'a> ApiExtractor<'a> for IfMatch {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = Option<String>;
    type ParamRawType = String;

    fn register(registry: &mut Registry) {
        <String as Type>::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(String::schema_ref())
    }

    fn param_raw_type(&self) -> Option<&String> {
        self.0.as_ref()
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<Option<String>>,
    ) -> poem::Result<Self> {
        let values = request.headers().get_all(header::IF_MATCH).iter();
        let tags: Vec<_> =
            values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        Ok(Self((!tags.is_empty()).then(|| tags.join(","))))
    }
}

/// 200 with the tag that a later write may name.
///
/// The tag is that of the version, which every change by hand raises and a move of stock does not: a sale must not stand in
/// the way of a new description. So nothing may be cached by it.
#[derive(Debug)]
pub struct Tagged<T> {
    /// The version.
    pub version: i64,
    /// The body.
    pub body: T,
}

impl<T: ToJSON> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        Response::builder()
            .header(header::ETAG, ETag::version(self.version).as_str())
            .header(header::CACHE_CONTROL, "no-store")
            .content_type(json_type())
            .body(self.body.to_json_string())
    }
}

impl<T: Type + ToJSON> ApiResponse for Tagged<T> {
    fn meta() -> MetaResponses {
        let etag = MetaHeader {
            name: "ETag".to_owned(),
            description: Some("Pass it back in If-Match when you change it".to_owned()),
            required: true,
            deprecated: false,
            schema: String::schema_ref(),
        };
        MetaResponses {
            responses: vec![MetaResponse {
                description: "",
                status: Some(200),
                status_range: None,
                content: vec![MetaMediaType {
                    content_type: Json::<T>::CONTENT_TYPE,
                    schema: T::schema_ref(),
                }],
                headers: vec![etag],
            }],
        }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_passes_by_the_strong_tag_of_what_is_there() {
        let current = ETag::version(7);
        let passes = |sent: Option<&str>| IfMatch(sent.map(str::to_owned)).check(&current).is_ok();
        for sent in [None, Some("*"), Some("\"v7\""), Some("\"v6\", \"v7\""), Some("\"x\" ,\"v7\"")] {
            assert!(passes(sent), "{sent:?}");
        }
        for sent in ["", "v7", "\"v6\"", "W/\"v7\"", "\"v70\""] {
            assert!(!passes(Some(sent)), "{sent:?}");
        }
    }
}
