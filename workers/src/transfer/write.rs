//! Writes chunks, and finds the one row that the database refuses.

use diesel_async::AsyncConnection as _;
use waybill_jobs::{Failure, JobContext, JobResult, Outcome};
use waybill_schema::{
    Conn,
    imports::{
        ImportRow, RowError,
        run::{self, Counts, RowOutcome},
    },
};

use super::{
    chunk::{Chunk, Line},
    csv::FieldError,
    error::ChunkError,
    kind::{Cause, Kind},
    run::{Pace, progress},
};

/// Writes an import's chunks from where it stands.
pub struct Writer {
    context: JobContext,
    /// The import with its counters after the last chunk.
    import: ImportRow,
    started_at: i64,
    pace: Pace,
}

impl Writer {
    /// A writer that goes on from where the import stands.
    pub fn new(import: &ImportRow, context: JobContext) -> Self {
        Self { context, started_at: import.byte_offset, import: import.clone(), pace: Pace::new() }
    }

    /// The place to go on from.
    pub fn offset(&self) -> i64 {
        self.import.byte_offset
    }

    /// Whether this attempt wrote anything.
    pub fn moved(&self) -> bool {
        self.import.byte_offset > self.started_at
    }

    /// Whether the attempt should end.
    pub fn is_cancelled(&self) -> bool {
        self.context.cancelled.is_cancelled()
    }

    /// Writes a chunk in one transaction. If the database refuses a value, the chunk is halved until the row to blame
    /// stands alone: it is reported, and the others go in.
    pub async fn write<K: Kind>(&mut self, kind: &K, chunk: &Chunk<K::Row>) -> Result<(), Failure> {
        let mut parts = vec![chunk.lines()];
        while let Some(lines) = parts.pop() {
            match self.transact(kind, lines, None).await {
                Ok(after) => self.import = after,
                Err(ChunkError::Failure(failure)) => return Err(failure),
                Err(ChunkError::Refused(_)) if lines.len() > 1 => {
                    let (first, second) = lines.split_at(lines.len() / 2);
                    parts.extend([second, first]);
                }
                // Alone it may well go in: what was in its way can have been another writer.
                Err(ChunkError::Refused(_)) => match self.transact(kind, lines, None).await {
                    Ok(after) => self.import = after,
                    Err(ChunkError::Failure(failure)) => return Err(failure),
                    Err(ChunkError::Refused(why)) => {
                        let reason = format!("the database refuses it: {why}");
                        self.import = self.transact(kind, lines, Some(&reason)).await.map_err(failure)?;
                    }
                },
            }
        }
        Ok(())
    }

    /// Ends the import and its job in one transaction.
    pub async fn complete(self) -> JobResult {
        let mut conn = self.context.pool.get().await?;
        let (context, import) = (&self.context, &self.import);
        let finished = conn
            .transaction::<_, Failure, _>(async |conn| {
                run::complete(conn, import.id).await?;
                context.finish(conn, Some(progress(import))).await
            })
            .await?;
        metrics::counter!("waybill_imports_completed_total", "kind" => import.kind.as_str()).increment(1);
        Ok(Outcome::Finished(finished))
    }

    /// Writes rows, or reports the one row as refused; returns the import as it stands then.
    async fn transact<K: Kind>(
        &mut self,
        kind: &K,
        lines: &[Line<K::Row>],
        refusal: Option<&str>,
    ) -> Result<ImportRow, ChunkError> {
        let Some(last) = lines.last() else { return Ok(self.import.clone()) };
        let show = self.pace.is_due();
        let (context, import) = (&self.context, &self.import);
        let cause = Cause { import_id: import.id, job_id: context.id };
        let mut conn = context.pool.get().await.map_err(Failure::from)?;
        conn.transaction::<ImportRow, ChunkError, _>(async |conn| {
            context.guard(conn).await?;
            let (mut counts, errors) = match refusal {
                None => apply(kind, conn, lines, cause).await?,
                Some(reason) => refused(lines, reason),
            };
            counts.done = last.number - 1 - import.rows_done;
            run::insert_errors(conn, import.id, &errors).await?;
            if !run::checkpoint(conn, import.id, import.byte_offset, last.end, &counts).await? {
                return Err(Failure::retryable("the import was moved on by somebody else").into());
            }
            let after = add(import, &counts, last.end);
            if show {
                context.progress(conn, &progress(&after)).await?;
            }
            Ok(after)
        })
        .await
    }
}

fn failure(error: ChunkError) -> Failure {
    match error {
        ChunkError::Failure(failure) => failure,
        ChunkError::Refused(why) => Failure::retryable(format!("a row error was refused: {why}")),
    }
}

async fn apply<K: Kind>(
    kind: &K,
    conn: &mut Conn,
    lines: &[Line<K::Row>],
    cause: Cause,
) -> Result<(Counts, Vec<RowError>), ChunkError> {
    let (mut counts, mut errors) = (Counts::default(), Vec::new());
    let good: Vec<(i64, &K::Row)> =
        lines.iter().filter_map(|line| Some((line.number, line.content.as_ref().ok()?))).collect();
    for line in lines {
        if let Err(wrong) = &line.content {
            counts.failed += i64::from(!wrong.is_empty());
            errors.extend(wrong.iter().cloned().map(|error| error.at(line.number)));
        }
    }
    if good.is_empty() {
        return Ok((counts, errors));
    }
    let rows: Vec<&K::Row> = good.iter().map(|(_, row)| *row).collect();
    let outcomes = kind.apply(conn, &rows, cause).await?;
    for ((number, _), outcome) in good.into_iter().zip(outcomes) {
        match outcome {
            RowOutcome::Created => counts.created += 1,
            RowOutcome::Updated => counts.updated += 1,
            RowOutcome::Unchanged => counts.unchanged += 1,
            RowOutcome::Refused { field, value, reason } => {
                counts.failed += 1;
                errors.push(FieldError::new(field, &value, reason).at(number));
            }
        }
    }
    Ok((counts, errors))
}

fn refused<R>(lines: &[Line<R>], reason: &str) -> (Counts, Vec<RowError>) {
    let counts = Counts { failed: i64::try_from(lines.len()).unwrap_or(i64::MAX), ..Counts::default() };
    (counts, lines.iter().map(|line| FieldError::new("row", "", reason).at(line.number)).collect())
}

fn add(import: &ImportRow, counts: &Counts, offset: i64) -> ImportRow {
    ImportRow {
        byte_offset: offset,
        rows_done: import.rows_done + counts.done,
        rows_created: import.rows_created + counts.created,
        rows_updated: import.rows_updated + counts.updated,
        rows_unchanged: import.rows_unchanged + counts.unchanged,
        rows_failed: import.rows_failed + counts.failed,
        ..import.clone()
    }
}
