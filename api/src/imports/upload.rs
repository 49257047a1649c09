//! A file on its way in: from the socket into the store, without being held in memory.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use poem::{
    FromRequest, Request, RequestBody,
    error::ParseMultipartError,
    web::{Field, Multipart},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;
use waybill_platform::files::{Files, FilesError, Stored};
use waybill_schema::imports::ImportKind;

use crate::error::{ApiError, ApiResult, FieldErrors, codes, too_large};

/// Bytes of the `kind` part at most.
const MAX_KIND: u64 = 64;
/// Characters of a file's name that are kept.
const MAX_FILENAME: usize = 200;
/// Bytes moved at a time.
const CHUNK: usize = 64 * 1024;
/// What browsers and tools call a CSV file; Windows calls it a spreadsheet where one is installed.
const CSV_TYPES: &[&str] = &[
    "text/csv",
    "application/csv",
    "text/plain",
    "text/comma-separated-values",
    "application/vnd.ms-excel",
    "application/octet-stream",
];

/// The parts of an upload, not read yet.
pub struct Upload(Multipart);

/// A file that is in the store.
#[derive(Debug)]
pub struct Received {
    /// What it holds, as the client says.
    pub kind: ImportKind,
    /// Its name, as the client says.
    pub filename: String,
    /// Where it is.
    pub stored: Stored,
    /// SHA-256 of the content.
    pub hash: [u8; 32],
}

impl Upload {
    /// Stores the file under `key` and reads the other parts, whichever comes first. Leaves nothing behind if it fails:
    /// 413 beyond `limit` bytes, 415 for a file that is no CSV, 422 for missing, repeated or unknown parts.
    pub async fn receive(mut self, files: &Files, key: &str, limit: u64) -> ApiResult<Received> {
        let mut parts = Parts::default();
        match parts.read(&mut self.0, files, key, limit).await {
            Ok(()) => {}
            Err(error) => {
                discard(files, parts.file.map(|file| file.stored)).await;
                return Err(error);
            }
        }
        let mut errors = FieldErrors::new();
        if parts.kind.is_none() {
            errors.add("kind", "required", "is required: products or stock");
        }
        if parts.file.is_none() {
            errors.add("file", "required", "is required");
        }
        if parts.file.as_ref().is_some_and(|file| file.stored.size == 0) {
            errors.add("file", "empty", "is empty");
        }
        match (parts.kind, parts.file) {
            (Some(kind), Some(file)) if errors.is_empty() => {
                Ok(Received { kind, filename: file.name, stored: file.stored, hash: file.hash })
            }
            (_, file) => {
                discard(files, file.map(|file| file.stored)).await;
                errors.finish(None)
            }
        }
    }
}

/// Removes a file that nobody will speak of.
pub async fn discard(files: &Files, stored: Option<Stored>) {
    if let Some(stored) = stored
        && let Err(error) = files.delete(&stored.key).await
    {
        tracing::warn!(%error, key = stored.key, "an unused upload could not be removed");
    }
}

#[derive(Default)]
struct Parts {
    kind: Option<ImportKind>,
    file: Option<FilePart>,
}

struct FilePart {
    name: String,
    stored: Stored,
    hash: [u8; 32],
}

impl Parts {
    async fn read(
        &mut self,
        multipart: &mut Multipart,
        files: &Files,
        key: &str,
        limit: u64,
    ) -> ApiResult<()> {
        while let Some(field) = multipart.next_field().await.map_err(broken)? {
            match field.name() {
                Some("kind") if self.kind.is_none() => self.kind = Some(kind(field).await?),
                Some("file") if self.file.is_none() => {
                    self.file = Some(store(field, files, key, limit).await?);
                }
                Some(name @ ("kind" | "file")) => {
                    return Err(ApiError::field(name, "repeated", "comes more than once"));
                }
                name => {
                    let name = name.unwrap_or("body").chars().take(100).collect::<String>();
                    return Err(ApiError::field(name, "unknown_field", "is not known here"));
                }
            }
        }
        Ok(())
    }
}

async fn kind(field: Field) -> ApiResult<ImportKind> {
    let mut text = Vec::new();
    let read = field.into_async_read().take(MAX_KIND).read_to_end(&mut text).await;
    read.map_err(|_| ApiError::malformed("the body broke off"))?;
    let text = String::from_utf8_lossy(&text);
    text.trim().parse().map_err(|_| ApiError::field("kind", "invalid", "must be one of: products, stock"))
}

async fn store(field: Field, files: &Files, key: &str, limit: u64) -> ApiResult<FilePart> {
    check_type(field.content_type())?;
    let name = filename(field.file_name());
    let mut hash = Sha256::new();
    let mut first = true;
    let content = ReaderStream::with_capacity(field.into_async_read(), CHUNK).map(|chunk| {
        let chunk = chunk?;
        if std::mem::replace(&mut first, false) && is_binary(&chunk) {
            return Err(Refused.into());
        }
        hash.update(&chunk);
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(chunk)
    });
    let stored = files.put_stream(key, content.into_stream(), limit).await.map_err(|error| match error {
        FilesError::TooLarge { limit } => too_large().with("limit_bytes", limit),
        FilesError::Content(source) if source.is::<Refused>() => {
            ApiError::field("file", "invalid", Refused.to_string())
        }
        FilesError::Content(source) => ApiError::malformed("the body broke off").because(source),
        other => {
            ApiError::unavailable("files cannot be stored at the moment", std::time::Duration::from_secs(5))
                .because(other)
        }
    })?;
    Ok(FilePart { name, stored, hash: hash.finalize().into() })
}

#[derive(Debug, thiserror::Error)]
#[error("is no CSV text: save a spreadsheet as CSV first")]
struct Refused;

/// Spreadsheets, archives and images have zero bytes, or the mark of a ZIP file, near their start; text has neither.
fn is_binary(start: &Bytes) -> bool {
    start.starts_with(b"PK\x03\x04") || start.iter().take(4096).any(|byte| *byte == 0)
}

fn check_type(content_type: Option<&str>) -> ApiResult<()> {
    let Some(content_type) = content_type else { return Ok(()) };
    if CSV_TYPES.iter().any(|known| content_type.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    Err(ApiError::new(
        poem::http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
        codes::UNSUPPORTED_MEDIA_TYPE,
        "the file must be text/csv",
    ))
}

/// The last part of the path some clients send, without what could break a header or a terminal.
fn filename(name: Option<&str>) -> String {
    let name = name.unwrap_or_default();
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(MAX_FILENAME).collect();
    if name.trim().is_empty() { "upload.csv".to_owned() } else { name }
}

fn broken(error: ParseMultipartError) -> ApiError {
    ApiError::malformed("the body is not multipart/form-data as it should be, or broke off").because(error)
}

impl<'a> ApiExtractor<'a> for Upload {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        super::dto::ImportKind::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let file = MetaSchemaRef::Inline(Box::new(MetaSchema {
            description: Some("The CSV file."),
            ..MetaSchema::new_with_format("string", "binary")
        }));
        let schema = MetaSchemaRef::Inline(Box::new(MetaSchema {
            required: vec!["kind", "file"],
            properties: vec![("kind", super::dto::ImportKind::schema_ref()), ("file", file)],
            ..MetaSchema::new("object")
        }));
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType { content_type: "multipart/form-data", schema }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self(<Multipart as FromRequest>::from_request(request, body).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_lose_their_path_and_control_characters() {
        assert_eq!(filename(Some("C:\\files\\stock.csv")), "stock.csv");
        assert_eq!(filename(Some("../../etc/pass\u{7}wd")), "passwd");
        assert_eq!(filename(Some("dir/")), "upload.csv");
        assert_eq!(filename(None), "upload.csv");
        assert_eq!(filename(Some(&"x".repeat(500))).len(), MAX_FILENAME);
    }

    #[test]
    fn spreadsheets_are_told_from_text() {
        assert!(is_binary(&Bytes::from_static(b"PK\x03\x04rest")));
        assert!(is_binary(&Bytes::from_static(b"sku\0name")));
        assert!(!is_binary(&Bytes::from_static("sku,name\nÄ1,Tür".as_bytes())));
    }
}
