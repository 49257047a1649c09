//! `import.run`: a file into the database, chunk by chunk.
//!
//! Each chunk is one transaction: its rows, its events, its errors, the counters and the place to go on from. A worker
//! that dies loses the chunk it was at, and the next one goes on from there: no row is written twice. Memory is bounded
//! by a chunk, however long the file is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use waybill_jobs::{Failure, JobContext, JobResult, Outcome, kinds::RunImport};
use waybill_platform::files::{Files, FilesError};
use waybill_schema::{
    Currency,
    imports::{self, ImportKind, ImportRow, ImportStatus, run},
};

use super::{
    chunk::{Chunk, Line},
    csv::{Cells, FieldError, Header, HeaderError, Row, Rows},
    kind::Kind,
    products::Products,
    stock::Stock,
    write::Writer,
};

/// Reads files of every kind.
pub struct Importer {
    pub(super) files: Files,
    pub(super) currency: Currency,
    pub(super) chunk_rows: usize,
}

/// Why reading ended before the end of the file.
pub(super) enum Stop {
    /// The file as a whole cannot be used; told to whoever uploaded it.
    File(String),
    /// Somebody wants this worker's place; another goes on.
    Interrupted,
    /// This attempt failed; rows that are in stay in.
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Importer {
    /// Runs one attempt.
    pub async fn run(self: Arc<Self>, job: RunImport, context: JobContext) -> JobResult {
        let import = {
            let mut conn = context.pool.get().await?;
            match imports::find(&mut conn, job.import_id).await? {
                None => return Ok(Outcome::Discard("there is no such import".to_owned())),
                Some(import) if import.status == ImportStatus::Completed => return Ok(Outcome::done()),
                Some(import) => {
                    run::start(&mut conn, import.id).await?;
                    import
                }
            }
        };
        let mut writer = Writer::new(&import, context.clone());
        let read = match import.kind {
            ImportKind::Products => {
                self.read(&import, Products { currency: self.currency }, &mut writer).await
            }
            ImportKind::Stock => self.read(&import, Stock, &mut writer).await,
        };
        match read {
            Ok(()) => writer.complete().await,
            Err(Stop::File(error)) => {
                let mut conn = context.pool.get().await?;
                run::fail(&mut conn, import.id, &error).await?;
                Ok(Outcome::Discard(error))
            }
            Err(Stop::Interrupted) => {
                let reason = format!("interrupted at byte {}", writer.offset());
                Ok(Outcome::Snooze { after: Duration::ZERO, reason })
            }
            // An attempt that got somewhere is not one of those that use the job up: a million rows may well meet
            // ten bad moments.
            Err(Stop::Failed(failure)) if failure.retryable && writer.moved() => {
                Ok(Outcome::Snooze { after: Duration::from_secs(1), reason: failure.message })
            }
            Err(Stop::Failed(failure)) => {
                if !failure.retryable || context.attempt >= context.max_attempts {
                    let mut conn = context.pool.get().await?;
                    run::fail(&mut conn, import.id, "an internal error; the job has the details").await?;
                }
                Err(failure)
            }
        }
    }

    async fn read<K: Kind>(&self, import: &ImportRow, kind: K, writer: &mut Writer) -> Result<(), Stop> {
        let start = self.open(import, 0).await?;
        let mut rows = Rows::new(start, b',', 0, 1);
        rows.detect_delimiter().await?;
        Header::sniff(rows.beginning()).map_err(file_error)?;
        let header = match rows.next().await? {
            None => return Err(file_error(HeaderError::Empty(K::COLUMNS.expected()))),
            Some(Row { content: Err(problem), .. }) => {
                return Err(file_error(HeaderError::Unreadable(problem.to_string())));
            }
            Some(Row { content: Ok(record), .. }) => {
                Header::read(&record, &K::COLUMNS).map_err(file_error)?
            }
        };
        let delimiter = rows.delimiter();
        if import.byte_offset > 0 {
            drop(rows);
            let rest = self.open(import, import.byte_offset).await?;
            // Rows are counted with the header and with blank ones, so the number follows from what is done.
            let rows = Rows::new(rest, delimiter, import.byte_offset, import.rows_done + 2);
            return self.chunks(rows, &header, kind, writer).await;
        }
        self.chunks(rows, &header, kind, writer).await
    }

    async fn open(
        &self,
        import: &ImportRow,
        offset: i64,
    ) -> Result<impl tokio::io::AsyncRead + Send + Unpin + use<>, Stop> {
        match self.files.open_from(&import.object, offset.unsigned_abs()).await {
            Ok(file) => Ok(file.into_reader()),
            Err(FilesError::NotFound { .. }) => {
                Err(Stop::File("the uploaded file is no longer there".to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn chunks<K: Kind, R: tokio::io::AsyncRead + Unpin>(
        &self,
        mut rows: Rows<R>,
        header: &Header,
        kind: K,
        writer: &mut Writer,
    ) -> Result<(), Stop> {
        let mut chunk = Chunk::default();
        loop {
            let row = rows.next().await?;
            let at_end = row.is_none();
            chunk.extend(row.map(|row| line(&kind, header, row)));
            if chunk.is_full(self.chunk_rows) || (at_end && !chunk.is_empty()) {
                writer.write(&kind, &chunk).await?;
                chunk.clear();
            }
            if at_end {
                return Ok(());
            }
            if writer.is_cancelled() {
                return Err(Stop::Interrupted);
            }
        }
    }
}

fn file_error(error: HeaderError) -> Stop {
    Stop::File(error.to_string())
}

/// A row with what became of reading it.
fn line<K: Kind>(kind: &K, header: &Header, row: Row) -> Line<K::Row> {
    let size = row.content.as_ref().map_or(0, super::csv::Record::size);
    let content = match &row.content {
        Err(problem) => Err(vec![FieldError::new("row", "", problem.to_string())]),
        Ok(record) => match Cells::new(header, record) {
            Err(error) => Err(vec![error]),
            Ok(cells) if cells.all_blank() => Err(Vec::new()),
            Ok(cells) => kind.parse(cells),
        },
    };
    Line { number: row.number, end: row.end, size, content }
}

/// What the job's owner sees.
pub(super) fn progress(import: &ImportRow) -> Value {
    json!({
        "rows_done": import.rows_done, "rows_created": import.rows_created, "rows_updated": import.rows_updated,
        "rows_unchanged": import.rows_unchanged, "rows_failed": import.rows_failed,
        "bytes_done": import.byte_offset, "bytes_total": import.size_bytes,
    })
}

/// Lets through at most so much as people can see.
pub(super) struct Pace {
    last: Option<Instant>,
}

impl Pace {
    const EVERY: Duration = Duration::from_millis(500);

    pub(super) const fn new() -> Self {
        Self { last: None }
    }

    /// Whether it is time again.
    pub(super) fn is_due(&mut self) -> bool {
        let due = self.last.is_none_or(|last| last.elapsed() >= Self::EVERY);
        if due {
            self.last = Some(Instant::now());
        }
        due
    }
}
