use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

use super::reader::Reader;

/// Where uploads, exports, invoices and images are kept.
#[derive(Debug, Clone)]
pub struct FilesConfig {
    /// The setting `files.url`, understood.
    pub location: FilesLocation,
    /// How to reach S3, where the location is one.
    pub s3: S3Config,
}

/// A place for files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilesLocation {
    /// A folder of this host, created when missing.
    Folder(PathBuf),
    /// A bucket, and a prefix inside it that may be empty.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// Leading part of every key, without slashes at its ends.
        prefix: String,
    },
}

/// Settings of S3 and of what speaks its protocol (`MinIO`, Ceph, R2).
#[derive(Debug, Clone)]
pub struct S3Config {
    /// Base URL of a provider other than AWS.
    pub endpoint: Option<Url>,
    /// Region, as `eu-west-1`.
    pub region: String,
    /// Access key; without one the host's own identity is used (instance or container role).
    pub access_key_id: Option<SecretString>,
    /// The secret that belongs to the access key.
    pub secret_access_key: Option<SecretString>,
    /// Whether the bucket's name goes into the path (most self-hosted providers) instead of the host name.
    pub path_style: bool,
}

impl Default for FilesLocation {
    fn default() -> Self {
        Self::Folder(PathBuf::new())
    }
}

impl FilesConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let expected =
            "a folder (\"./files\", \"file:///var/lib/waybill/files\") or a bucket (\"s3://bucket/prefix\")";
        let location = reader.section("files").parsed("url", expected, location);
        let mut section = reader.section("files.s3");
        let s3 = S3Config {
            endpoint: section.optional_url("endpoint", &["http", "https"]),
            region: section.text("region"),
            access_key_id: section.optional_secret("access_key_id", 1),
            secret_access_key: section.optional_secret("secret_access_key", 1),
            path_style: section.boolean("path_style"),
        };
        let both = ["files.s3.access_key_id", "files.s3.secret_access_key"];
        if reader.usable(&both) && s3.access_key_id.is_some() != s3.secret_access_key.is_some() {
            let unset = usize::from(s3.access_key_id.is_some());
            reader.problem(both[unset], format!("must be set because {} is", both[1 - unset]));
        }
        Self { location, s3 }
    }
}

fn location(text: &str) -> Option<FilesLocation> {
    if !text.contains("://") {
        return Some(FilesLocation::Folder(PathBuf::from(text)));
    }
    let url = Url::parse(text).ok()?;
    match url.scheme() {
        "file" => Some(FilesLocation::Folder(url.to_file_path().ok()?)),
        "s3" if url.query().is_none() && url.username().is_empty() => Some(FilesLocation::S3 {
            bucket: url.host_str().filter(|host| !host.is_empty())?.to_owned(),
            prefix: url.path().trim_matches('/').to_owned(),
        }),
        _ => None,
    }
}
