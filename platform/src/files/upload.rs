//! A file on its way into the store, in parts.

use bytes::Bytes;
use object_store::{MultipartUpload, WriteMultipart};

use super::FilesError;

/// Part of a multipart upload. S3 takes at least 5 MiB (all but the last) and at most 10,000 parts, so 48 GiB; a smaller
/// file goes up in one request.
pub const PART: usize = 5 * 1024 * 1024;
/// Parts on their way at a time beside the one being filled: at most 10 MiB of memory per upload.
const PARTS_IN_FLIGHT: usize = 1;

/// A multipart upload that is taken back unless it is finished, also when its future is dropped midway.
pub struct Upload {
    inner: Option<WriteMultipart>,
}

impl Upload {
    pub fn new(upload: Box<dyn MultipartUpload>) -> Self {
        Self { inner: Some(WriteMultipart::new_with_chunk_size(upload, PART)) }
    }

    pub async fn write(&mut self, chunk: Bytes) -> object_store::Result<()> {
        let Some(inner) = &mut self.inner else { return Ok(()) };
        inner.wait_for_capacity(PARTS_IN_FLIGHT).await?;
        inner.put(chunk);
        Ok(())
    }

    pub async fn finish(&mut self) -> Result<(), FilesError> {
        let Some(inner) = self.inner.take() else { return Ok(()) };
        // `finish` takes the upload back itself when it fails.
        inner.finish().await.map(drop).map_err(FilesError::Store)
    }

    pub async fn abort(&mut self) {
        if let Some(inner) = self.inner.take()
            && let Err(error) = inner.abort().await
        {
            tracing::warn!(%error, "an abandoned upload could not be taken back");
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(inner), Ok(runtime)) = (self.inner.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(inner.abort());
        }
    }
}
