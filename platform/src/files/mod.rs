//! Files that outlive a request: uploads, exports, invoices, images. A folder, or S3 where workers run on several hosts.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutPayload, path::Path,
};
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use self::upload::{PART, Upload};
use crate::config::FilesConfig;

mod location;
mod staged;
mod upload;

/// Chunk when reading from an [`AsyncRead`].
const READ_CHUNK: usize = 64 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a file could not be stored, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The content is longer than the caller allows. Nothing of it was kept.
    #[error("longer than the {limit} bytes allowed")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// There is no such file.
    #[error("there is no file {key}")]
    NotFound {
        /// The key that was asked for.
        key: String,
    },
    /// A key must be a relative path of plain segments, without `..`.
    #[error("{key:?} is no key of a file")]
    InvalidKey {
        /// The key that was refused.
        key: String,
    },
    /// The stream that was to be stored broke off. Nothing of it was kept.
    #[error("the content broke off")]
    Content(#[source] BoxError),
    /// The location in the configuration cannot be used.
    #[error("files cannot be kept at {location}")]
    Location {
        /// The folder or bucket.
        location: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The store failed.
    #[error("the file store failed")]
    Store(#[source] object_store::Error),
    /// The folder that is the store failed.
    #[error("the folder of the file store failed")]
    Folder(#[source] io::Error),
}

/// A handle on the store. Clones share it.
#[derive(Debug, Clone)]
pub struct Files {
    store: Arc<dyn ObjectStore>,
    /// Where the store is a folder.
    folder: Option<PathBuf>,
}

/// A file as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The key to open it by.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
}

/// A file being read.
pub struct OpenFile {
    /// Length of the whole file in bytes, whatever the offset.
    pub size: u64,
    /// First byte that the stream yields.
    pub offset: u64,
    /// The content from the offset to the end.
    pub stream: BoxStream<'static, Result<Bytes, FilesError>>,
}

/// Opens the store that the configuration names. A folder is created when missing.
///
/// # Errors
/// [`FilesError::Location`] when the folder cannot be made or the settings of S3 do not fit together; a bucket is not
/// contacted here.
pub fn store(config: &FilesConfig) -> Result<Files, FilesError> {
    let (store, folder) = location::open(config)?;
    Ok(Files { store, folder })
}

impl Files {
    /// Stores a stream under `key`, replacing what is there. At most `limit` bytes; memory stays below 10 MiB.
    ///
    /// The file appears whole or not at all: an error, a broken stream or a dropped future leaves nothing behind.
    ///
    /// # Errors
    /// [`FilesError::TooLarge`], [`FilesError::Content`], [`FilesError::InvalidKey`], [`FilesError::Store`].
    pub async fn put_stream<S, E>(&self, key: &str, content: S, limit: u64) -> Result<Stored, FilesError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<BoxError>,
    {
        let path = parse_key(key)?;
        let mut content = std::pin::pin!(content);
        let mut first: Vec<Bytes> = Vec::new();
        let mut size: u64 = 0;
        let mut upload: Option<Upload> = None;
        while let Some(chunk) = content.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return Err(give_up(upload, FilesError::Content(error.into())).await),
            };
            size += chunk.len() as u64;
            if size > limit {
                return Err(give_up(upload, FilesError::TooLarge { limit }).await);
            }
            if let Some(upload) = &mut upload {
                if let Err(error) = upload.write(chunk).await {
                    return Err(give_up_store(upload, error).await);
                }
                continue;
            }
            first.push(chunk);
            if size >= PART as u64 {
                let started = self
                    .store
                    .put_multipart_opts(&path, PutMultipartOptions::default())
                    .await
                    .map_err(FilesError::Store)?;
                let mut begun = Upload::new(started);
                for chunk in first.drain(..) {
                    if let Err(error) = begun.write(chunk).await {
                        return Err(give_up_store(&mut begun, error).await);
                    }
                }
                upload = Some(begun);
            }
        }
        if let Some(mut upload) = upload {
            upload.finish().await?;
        } else {
            let payload = PutPayload::from_iter(first);
            self.store.put(&path, payload).await.map_err(FilesError::Store)?;
        }
        Ok(Stored { key: key.to_owned(), size })
    }

    /// [`Files::put_stream`] for a reader.
    pub async fn put_reader<R>(&self, key: &str, content: R, limit: u64) -> Result<Stored, FilesError>
    where
        R: AsyncRead + Send,
    {
        self.put_stream(key, ReaderStream::with_capacity(content, READ_CHUNK), limit).await
    }

    /// [`Files::put_stream`] for content that is in memory anyway.
    pub async fn put_bytes(&self, key: &str, content: Bytes) -> Result<Stored, FilesError> {
        let limit = content.len() as u64;
        self.put_stream(key, stream::iter([Ok::<_, io::Error>(content)]), limit).await
    }

    /// Opens a file from its beginning.
    ///
    /// # Errors
    /// [`FilesError::NotFound`], [`FilesError::InvalidKey`], [`FilesError::Store`].
    pub async fn open(&self, key: &str) -> Result<OpenFile, FilesError> {
        self.open_from(key, 0).await
    }

    /// Opens a file from byte `offset`; at or past the end the stream is empty.
    ///
    /// # Errors
    /// As [`Files::open`].
    pub async fn open_from(&self, key: &str, offset: u64) -> Result<OpenFile, FilesError> {
        let path = parse_key(key)?;
        let failed = |error| store_error(key, error);
        if offset > 0 {
            // Stores refuse a range that starts at the end, which for a reader that resumes is a plain end of file.
            let size = self.store.head(&path).await.map_err(failed)?.size;
            if offset >= size {
                return Ok(OpenFile { size, offset, stream: stream::empty().boxed() });
            }
        }
        let range = (offset > 0).then_some(GetRange::Offset(offset));
        let found = self
            .store
            .get_opts(&path, GetOptions { range, ..GetOptions::default() })
            .await
            .map_err(failed)?;
        let size = found.meta.size;
        let stream = found.into_stream().map_err(FilesError::Store).boxed();
        Ok(OpenFile { size, offset, stream })
    }

    /// Length of a file in bytes.
    ///
    /// # Errors
    /// As [`Files::open`].
    pub async fn size(&self, key: &str) -> Result<u64, FilesError> {
        let path = parse_key(key)?;
        Ok(self.store.head(&path).await.map_err(|error| store_error(key, error))?.size)
    }

    /// Removes a file; one that is not there is as good as removed.
    ///
    /// # Errors
    /// [`FilesError::InvalidKey`], [`FilesError::Store`].
    pub async fn delete(&self, key: &str) -> Result<(), FilesError> {
        match self.store.delete(&parse_key(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(FilesError::Store(error)),
        }
    }

    /// Removes every file whose key begins with the segments of `folder`; returns how many there were. One that goes
    /// meanwhile is as good as removed. In a folder, what writers left there that were killed goes too, and so does what they would
    /// write now.
    ///
    /// # Errors
    /// [`FilesError::InvalidKey`], [`FilesError::Store`].
    pub async fn delete_below(&self, folder: &str) -> Result<usize, FilesError> {
        let path = parse_key(folder)?;
        let mut found = self.store.list(Some(&path));
        let mut removed = 0;
        while let Some(file) = found.try_next().await.map_err(FilesError::Store)? {
            match self.store.delete(&file.location).await {
                Ok(()) => removed += 1,
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(FilesError::Store(error)),
            }
        }
        if let Some(root) = &self.folder {
            staged::remove(root.clone(), folder, Duration::ZERO).await?;
        }
        Ok(removed)
    }

    /// The keys below a folder that were stored before a time, by the clock of the store, in any order.
    ///
    /// # Errors
    /// [`FilesError::InvalidKey`], [`FilesError::Store`].
    pub fn stored_before(
        &self,
        folder: &str,
        before: SystemTime,
    ) -> Result<BoxStream<'static, Result<String, FilesError>>, FilesError> {
        let found = self.store.list(Some(&parse_key(folder)?)).map_err(FilesError::Store);
        let aged = found.try_filter_map(move |file| async move {
            let aged = SystemTime::from(file.last_modified) < before;
            Ok(aged.then(|| file.location.to_string()))
        });
        Ok(aged.boxed())
    }

    /// Removes what writers left behind that were killed, if nothing was added to it for `rest`; returns how much there was. Only a
    /// folder has any: of a bucket that is the business of its own rules (`AbortIncompleteMultipartUpload`).
    ///
    /// # Errors
    /// [`FilesError::Folder`].
    pub async fn remove_unfinished(&self, rest: Duration) -> Result<usize, FilesError> {
        match &self.folder {
            Some(root) => staged::remove(root.clone(), "", rest).await,
            None => Ok(0),
        }
    }
}

impl OpenFile {
    /// The content as a reader.
    pub fn into_reader(self) -> impl AsyncRead + Send + Unpin {
        StreamReader::new(self.stream.map_err(io::Error::other))
    }
}

impl From<FilesError> for io::Error {
    fn from(error: FilesError) -> Self {
        Self::other(error)
    }
}

async fn give_up(upload: Option<Upload>, reason: FilesError) -> FilesError {
    if let Some(mut upload) = upload {
        upload.abort().await;
    }
    reason
}

async fn give_up_store(upload: &mut Upload, error: object_store::Error) -> FilesError {
    upload.abort().await;
    FilesError::Store(error)
}

fn parse_key(key: &str) -> Result<Path, FilesError> {
    let invalid = || FilesError::InvalidKey { key: key.to_owned() };
    let path = Path::parse(key).map_err(|_| invalid())?;
    // `parse` forgives a leading slash and an empty key; two spellings of one file would be two rows about it.
    if path.as_ref().is_empty() || path.as_ref() != key { Err(invalid()) } else { Ok(path) }
}

fn store_error(key: &str, error: object_store::Error) -> FilesError {
    match error {
        object_store::Error::NotFound { .. } => FilesError::NotFound { key: key.to_owned() },
        error => FilesError::Store(error),
    }
}
