//! From the setting to a store: a folder of this host or a bucket.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use object_store::{
    Certificate, ClientOptions, ObjectStore,
    aws::{AmazonS3, AmazonS3Builder},
    local::LocalFileSystem,
    prefix::PrefixStore,
};
use secrecy::ExposeSecret;

use super::{BoxError, FilesError};
use crate::{
    config::{FilesConfig, FilesLocation, S3Config},
    http,
};

/// The store, and the folder that it is, if it is one.
pub fn open(config: &FilesConfig) -> Result<(Arc<dyn ObjectStore>, Option<PathBuf>), FilesError> {
    match &config.location {
        FilesLocation::Folder(folder) => match open_folder(folder) {
            Ok(store) => Ok((Arc::new(store), Some(folder.clone()))),
            Err(source) => Err(FilesError::Location { location: folder.display().to_string(), source }),
        },
        FilesLocation::S3 { bucket, prefix } => match open_bucket(bucket, &config.s3) {
            Ok(store) if prefix.is_empty() => Ok((Arc::new(store), None)),
            Ok(store) => Ok((Arc::new(PrefixStore::new(store, prefix.as_str())), None)),
            Err(error) => {
                Err(FilesError::Location { location: format!("s3://{bucket}"), source: error.into() })
            }
        },
    }
}

fn open_folder(folder: &Path) -> Result<LocalFileSystem, BoxError> {
    std::fs::create_dir_all(folder)?;
    // An accepted upload must survive a power cut, as the job that speaks of it does. A store has no folders that could be
    // left behind empty.
    Ok(LocalFileSystem::new_with_prefix(folder)?.with_fsync(true).with_automatic_cleanup(true))
}

fn open_bucket(bucket: &str, config: &S3Config) -> object_store::Result<AmazonS3> {
    let mut options = ClientOptions::new();
    if !http::has_system_roots() {
        for der in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
            options = options.with_root_certificate(Certificate::from_der(der)?);
        }
        options = options.with_no_system_certificates(true);
    }
    let mut builder = AmazonS3Builder::new()
        .with_client_options(options)
        .with_bucket_name(bucket)
        .with_region(&config.region)
        .with_virtual_hosted_style_request(!config.path_style);
    if let Some(endpoint) = &config.endpoint {
        builder = builder
            .with_endpoint(endpoint.as_str().trim_end_matches('/'))
            .with_allow_http(endpoint.scheme() == "http");
    }
    if let (Some(id), Some(secret)) = (&config.access_key_id, &config.secret_access_key) {
        builder =
            builder.with_access_key_id(id.expose_secret()).with_secret_access_key(secret.expose_secret());
    }
    builder.build()
}
