//! Writes chunks, and finds the one row that the database refuses.

use diesel_async::AsyncConnection as _;
use waybill_jobs::{Failure, JobContext, JobResult, Outcome, logs::Level};
use waybill_schema::{
    Conn,
    imports::{
        self, ImportRow, RowError,
        parts::{self, PartRow},
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

/// Lines of one attempt about rows that were refused: who reads them wants to know that, and asks for the list of errors then.
const TOLD: u8 = 20;

/// Whose resume point moves with the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// The import's.
    File,
    /// That of this part of it.
    Part(i32),
}

/// Writes chunks of an import, or of a part of one, from where it stands.
pub struct Writer {
    context: JobContext,
    /// The import; of a file read whole, with its counters after the last chunk.
    import: ImportRow,
    target: Target,
    /// The place to go on from.
    at: i64,
    started_at: i64,
    pace: Pace,
    /// Lines that may still be said of refused rows.
    lines_left: u8,
}

impl Writer {
    /// A writer that goes on from where the import stands.
    pub fn new(import: &ImportRow, context: JobContext) -> Self {
        let (target, at) = (Target::File, import.byte_offset);
        Self {
            context,
            import: import.clone(),
            target,
            at,
            started_at: at,
            pace: Pace::new(),
            lines_left: TOLD,
        }
    }

    /// A writer that goes on from where a part of the import stands.
    pub fn of_part(import: &ImportRow, part: &PartRow, context: JobContext) -> Self {
        let (target, at) = (Target::Part(part.part), part.place);
        Self {
            context,
            import: import.clone(),
            target,
            at,
            started_at: at,
            pace: Pace::new(),
            lines_left: TOLD,
        }
    }

    /// Whether this attempt wrote anything.
    pub fn moved(&self) -> bool {
        self.at > self.started_at
    }

    /// Whether the attempt should end.
    pub fn is_cancelled(&self) -> bool {
        self.context.cancelled.is_cancelled()
    }

    /// Writes a chunk in one transaction. If the database refuses a value, the chunk is halved until the row to blame
    /// stands alone: it is reported, and the others go in.
    pub async fn write<K: Kind>(&mut self, kind: &K, chunk: &Chunk<K::Row>) -> Result<(), Failure> {
        let mut stack = vec![chunk.lines()];
        while let Some(lines) = stack.pop() {
            match self.transact(kind, lines, None).await {
                Ok(()) => {}
                Err(ChunkError::Failure(failure)) => return Err(failure),
                Err(ChunkError::Refused(_)) if lines.len() > 1 => {
                    let (first, second) = lines.split_at(lines.len() / 2);
                    stack.extend([second, first]);
                }
                // Alone it may well go in: what was in its way can have been another writer.
                Err(ChunkError::Refused(_)) => match self.transact(kind, lines, None).await {
                    Ok(()) => {}
                    Err(ChunkError::Failure(failure)) => return Err(failure),
                    Err(ChunkError::Refused(why)) => {
                        let reason = format!("the database refuses it: {why}");
                        self.transact(kind, lines, Some(&reason)).await.map_err(failure)?;
                    }
                },
            }
        }
        if self.target != Target::File && self.pace.is_due() {
            self.tell().await?;
        }
        Ok(())
    }

    /// Shows in the import's own job how far its parts are.
    pub async fn tell(&self) -> Result<(), Failure> {
        let mut conn = self.context.pool.get().await?;
        conn.transaction::<_, Failure, _>(async |conn| {
            if parts::lock_job(conn, self.import.job_id).await?
                && let Some(import) = imports::find(conn, self.import.id).await?
            {
                parts::show(conn, import.job_id, &progress(&import)).await?;
            }
            Ok(())
        })
        .await
    }

    /// Ends the import and its job in one transaction.
    pub async fn complete(self) -> JobResult {
        let (context, import) = (&self.context, &self.import);
        let line = format!(
            "{} rows are in: {} created, {} updated, {} unchanged, {} refused",
            import.rows_done,
            import.rows_created,
            import.rows_updated,
            import.rows_unchanged,
            import.rows_failed
        );
        context.log(Level::Info, line);
        // Before the job is over, and nobody follows it any more.
        context.logs.flush().await;
        let mut conn = context.pool.get().await?;
        let finished = conn
            .transaction::<_, Failure, _>(async |conn| {
                run::complete(conn, import.id).await?;
                context.finish(conn, Some(progress(import))).await
            })
            .await?;
        metrics::counter!("waybill_imports_completed_total", "kind" => import.kind.as_str()).increment(1);
        Ok(Outcome::Finished(finished))
    }

    /// Writes rows, or reports the one row as refused, and moves the resume point.
    async fn transact<K: Kind>(
        &mut self,
        kind: &K,
        lines: &[Line<K::Row>],
        refusal: Option<&str>,
    ) -> Result<(), ChunkError> {
        let Some(last) = lines.last() else { return Ok(()) };
        let show = self.target == Target::File && self.pace.is_due();
        let (context, import, target, at) = (&self.context, &self.import, self.target, self.at);
        let cause = Cause { import_id: import.id, job_id: context.id };
        let mut conn = context.pool.get().await.map_err(Failure::from)?;
        let (after, refused) = conn
            .transaction::<(ImportRow, i64), ChunkError, _>(async |conn| {
                context.guard(conn).await?;
                let (mut counts, errors) = match refusal {
                    None => apply(kind, conn, lines, cause).await?,
                    Some(reason) => refused(lines, reason),
                };
                counts.done = lines.iter().map(|line| line.passed.rows).sum();
                run::insert_errors(conn, import.id, &errors).await?;
                let moved = match target {
                    Target::File => run::checkpoint(conn, import.id, at, last.end, &counts).await?,
                    Target::Part(part) => {
                        let bytes = lines.iter().map(|line| line.passed.bytes).sum();
                        parts::checkpoint(conn, import.id, part, (at, last.end), bytes, &counts).await?
                    }
                };
                if !moved {
                    return Err(Failure::retryable("the import was moved on by somebody else").into());
                }
                let after = add(import, &counts, last.end);
                if show {
                    context.progress(conn, &progress(&after)).await?;
                }
                Ok((after, counts.failed))
            })
            .await?;
        if refused > 0 && self.lines_left > 0 {
            self.lines_left -= 1;
            let rest = if self.lines_left == 0 { "; more is not told here" } else { "" };
            let line = format!(
                "{refused} rows up to row {} were refused: see the import's errors{rest}",
                last.number
            );
            self.context.log(Level::Warn, line);
        }
        self.at = last.end;
        if self.target == Target::File {
            self.import = after;
        }
        Ok(())
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
        bytes_done: offset,
        rows_done: import.rows_done + counts.done,
        rows_created: import.rows_created + counts.created,
        rows_updated: import.rows_updated + counts.updated,
        rows_unchanged: import.rows_unchanged + counts.unchanged,
        rows_failed: import.rows_failed + counts.failed,
        ..import.clone()
    }
}
