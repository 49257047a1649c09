//! `import.run`: a file into the database, chunk by chunk; of a large one, stretch by stretch, by workflows that run its parts
//! side by side.
//!
//! Each chunk is one transaction: its rows, its events, its errors, the counters and the place to go on from. A worker
//! that dies loses the chunk it was at, and the next one goes on from there: no row is written twice. Memory is bounded
//! by a chunk, however long the file is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::io::AsyncRead;
use waybill_jobs::{Failure, JobContext, JobResult, Outcome, kinds::RunImport, logs::Level};
use waybill_platform::files::{Files, FilesError};
use waybill_schema::{
    Currency,
    imports::{self, ImportKind, ImportRow, ImportStatus, run},
};

use super::{
    chunk::{Chunk, Line, Passed, Place},
    csv::{Cells, Columns, FieldError, Header, HeaderError, Row, Rows},
    follow,
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
    /// With so many bytes left, a file is cut into parts.
    pub(super) cut_from: i64,
    /// Rows cut at a time.
    pub(super) stretch: usize,
}

/// A file being read.
type Reader = Box<dyn AsyncRead + Send + Unpin>;

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
                    if let Some(flow_id) = import.flow_id {
                        drop(conn);
                        return follow::follow(&import, flow_id, &context).await;
                    }
                    run::start(&mut conn, import.id, context.id).await?;
                    import
                }
            }
        };
        if import.size_bytes - import.byte_offset >= self.cut_from && follow::is_served(&context).await? {
            return match self.begin(&import, &context).await {
                Err(stop) => ended(stop, false, &import, &context).await,
                Ok(outcome) => Ok(outcome),
            };
        }
        let (from, size, rows) = (import.byte_offset, import.size_bytes, import.rows_done);
        context.log(Level::Info, format!("reads from byte {from} of {size}; {rows} rows are in"));
        let mut writer = Writer::new(&import, context.clone());
        let read = match import.kind {
            ImportKind::Products => {
                self.read(&import, Products { currency: self.currency }, &mut writer).await
            }
            ImportKind::Stock => self.read(&import, Stock, &mut writer).await,
        };
        match read {
            Ok(()) => writer.complete().await,
            Err(stop) => ended(stop, writer.moved(), &import, &context).await,
        }
    }

    async fn read<K: Kind>(&self, import: &ImportRow, kind: K, writer: &mut Writer) -> Result<(), Stop> {
        let (header, rows) = self.source(import, &K::COLUMNS).await?;
        self.chunks(rows, &header, kind, Place::of(import), writer).await
    }

    /// The next stretch as a workflow, once the file as a whole is known to be usable.
    async fn begin(&self, import: &ImportRow, context: &JobContext) -> Result<Outcome, Stop> {
        match import.kind {
            ImportKind::Products => drop(self.top(import, &Products::COLUMNS).await?),
            ImportKind::Stock => drop(self.top(import, &Stock::COLUMNS).await?),
        }
        Ok(follow::begin(import, context).await?)
    }

    /// The header of a file, and its rows from there on.
    pub(super) async fn top(
        &self,
        import: &ImportRow,
        columns: &Columns,
    ) -> Result<(Header, Rows<Reader>), Stop> {
        let start = self.open(import, 0).await?;
        let mut rows = Rows::new(start, b',', 0, 1);
        rows.detect_delimiter().await?;
        Header::sniff(rows.beginning()).map_err(file_error)?;
        let header = match rows.next().await? {
            None => return Err(file_error(HeaderError::Empty(columns.expected()))),
            Some(Row { content: Err(problem), .. }) => {
                return Err(file_error(HeaderError::Unreadable(problem.to_string())));
            }
            Some(Row { content: Ok(record), .. }) => Header::read(&record, columns).map_err(file_error)?,
        };
        Ok((header, rows))
    }

    /// The header of a file, and its rows from where the import goes on.
    pub(super) async fn source(
        &self,
        import: &ImportRow,
        columns: &Columns,
    ) -> Result<(Header, Rows<Reader>), Stop> {
        let (header, rows) = self.top(import, columns).await?;
        if import.byte_offset == 0 {
            return Ok((header, rows));
        }
        let rest = self.open(import, import.byte_offset).await?;
        let number = Place::of(import).number + 1;
        Ok((header, Rows::new(rest, rows.delimiter(), import.byte_offset, number)))
    }

    async fn open(&self, import: &ImportRow, offset: i64) -> Result<Reader, Stop> {
        match self.files.open_from(&import.object, offset.unsigned_abs()).await {
            Ok(file) => Ok(Box::new(file.into_reader())),
            Err(FilesError::NotFound { .. }) => {
                Err(Stop::File("the uploaded file is no longer there".to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn chunks<K: Kind, R: AsyncRead + Unpin>(
        &self,
        mut rows: Rows<R>,
        header: &Header,
        kind: K,
        mut place: Place,
        writer: &mut Writer,
    ) -> Result<(), Stop> {
        let mut chunk = Chunk::default();
        loop {
            let row = rows.next().await?;
            let at_end = row.is_none();
            chunk.extend(row.map(|row| {
                let passed = place.pass(&row);
                line(&kind, header, &row, passed)
            }));
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

/// How an attempt ends that did not come to the end of the file.
async fn ended(stop: Stop, moved: bool, import: &ImportRow, context: &JobContext) -> JobResult {
    match stop {
        Stop::File(error) => {
            context.log(Level::Error, format!("the file cannot be used: {error}"));
            let mut conn = context.pool.get().await?;
            run::fail(&mut conn, import.id, &error).await?;
            Ok(Outcome::Discard(error))
        }
        Stop::Interrupted => Ok(Outcome::Snooze { after: Duration::ZERO, reason: "interrupted".to_owned() }),
        // An attempt that got somewhere is not one of those that use the job up: a million rows may well meet ten bad
        // moments.
        Stop::Failed(failure) if failure.retryable && moved => {
            Ok(Outcome::Snooze { after: Duration::from_secs(1), reason: failure.message })
        }
        Stop::Failed(failure) => {
            if !failure.retryable || context.attempt >= context.max_attempts {
                let mut conn = context.pool.get().await?;
                run::fail(&mut conn, import.id, run::FAILED).await?;
            }
            Err(failure)
        }
    }
}

fn file_error(error: HeaderError) -> Stop {
    Stop::File(error.to_string())
}

/// A row with what became of reading it.
pub(super) fn line<K: Kind>(kind: &K, header: &Header, row: &Row, passed: Passed) -> Line<K::Row> {
    let size = row.content.as_ref().map_or(0, super::csv::Record::size);
    Line { number: row.number, end: row.end, passed, size, content: read_row(kind, header, row) }
}

/// What a row says, or what is wrong with it.
pub(super) fn read_row<K: Kind>(kind: &K, header: &Header, row: &Row) -> Result<K::Row, Vec<FieldError>> {
    match &row.content {
        Err(problem) => Err(vec![FieldError::new("row", "", problem.to_string())]),
        Ok(record) => match Cells::new(header, record) {
            Err(error) => Err(vec![error]),
            Ok(cells) if cells.all_blank() => Err(Vec::new()),
            Ok(cells) => kind.parse(cells),
        },
    }
}

/// What the job's owner sees.
pub(super) fn progress(import: &ImportRow) -> Value {
    json!({
        "rows_done": import.rows_done, "rows_created": import.rows_created, "rows_updated": import.rows_updated,
        "rows_unchanged": import.rows_unchanged, "rows_failed": import.rows_failed,
        "bytes_done": import.bytes_done, "bytes_total": import.size_bytes,
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
