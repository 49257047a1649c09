//! The files of parts while they are written: many small ones, each stored whole, so that neither a stream stays open per
//! part nor a part must fit into memory.

use waybill_platform::files::{Files, FilesError};
use waybill_schema::imports::parts::PartRow;

use super::frames::Frame;

/// A file of a part is stored when it has so many bytes: with 16 parts that is at most 16 MiB of memory (and a row each).
const PIECE: usize = 1024 * 1024;

#[derive(Default)]
struct Open {
    buffer: Vec<u8>,
    sizes: Vec<i64>,
}

/// Writes the files of all parts of a stretch.
pub struct Pieces {
    files: Files,
    folder: String,
    open: Vec<Open>,
}

impl Pieces {
    /// No rows yet. Whoever cuts again does so in another folder: a worker that was given up for dead may still write.
    pub fn new(files: Files, folder: String, parts: usize) -> Self {
        let open = std::iter::repeat_with(Open::default).take(parts.max(1)).collect();
        Self { files, folder, open }
    }

    /// How many parts there are, one at least.
    pub fn parts(&self) -> usize {
        self.open.len()
    }

    /// Adds a row to a part.
    ///
    /// # Errors
    /// What storing a file fails with.
    pub async fn add(&mut self, part: usize, frame: &Frame) -> Result<(), FilesError> {
        frame.write(&mut self.open[part].buffer);
        if self.open[part].buffer.len() >= PIECE { self.store(part).await } else { Ok(()) }
    }

    /// Stores what is left; the parts, ready to be run.
    ///
    /// # Errors
    /// What storing a file fails with.
    pub async fn finish(mut self) -> Result<Vec<PartRow>, FilesError> {
        let mut parts = Vec::with_capacity(self.open.len());
        for part in 0..self.open.len() {
            if !self.open[part].buffer.is_empty() {
                self.store(part).await?;
            }
            parts.push(PartRow {
                part: i32::try_from(part).unwrap_or(i32::MAX),
                prefix: self.prefix(part),
                sizes: std::mem::take(&mut self.open[part].sizes),
                place: 0,
            });
        }
        Ok(parts)
    }

    fn prefix(&self, part: usize) -> String {
        format!("{}/{part}", self.folder)
    }

    async fn store(&mut self, part: usize) -> Result<(), FilesError> {
        let prefix = self.prefix(part);
        let open = &mut self.open[part];
        let key = key(&prefix, open.sizes.len());
        let size = i64::try_from(open.buffer.len()).unwrap_or(i64::MAX);
        let content = std::mem::take(&mut open.buffer);
        self.files.put_bytes(&key, content.into()).await?;
        open.sizes.push(size);
        Ok(())
    }
}

/// The key of a part's file.
pub fn key(prefix: &str, number: usize) -> String {
    format!("{prefix}-{number}")
}
