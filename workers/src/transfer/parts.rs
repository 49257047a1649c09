//! `import.part`, `import.merge` and `import.clean`: the parts of a stretch, side by side, and what comes after them.

use std::{sync::Arc, time::Duration};

use diesel_async::AsyncConnection as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;
use uuid::Uuid;
use waybill_jobs::{
    Failure, JobContext, JobResult, Outcome,
    kinds::{CleanImport, ImportPart, MergeImport},
};
use waybill_platform::files::Files;
use waybill_schema::{
    Conn,
    imports::{
        self, ImportKind, ImportRow,
        parts::{self, PartRow},
        run,
    },
    system::rework,
};

use super::{
    chunk::Chunk,
    frames::Frames,
    kind::Kind,
    pieces,
    products::Products,
    run::{Importer, Stop, line},
    stock::Stock,
    write::Writer,
};

/// Where a workflow's files are.
pub(super) fn folder(import_id: Uuid, flow_id: Option<Uuid>) -> String {
    format!("imports/{import_id}/{}", flow_id.unwrap_or_default())
}

impl Importer {
    /// Runs one attempt of a part.
    pub async fn part(self: Arc<Self>, job: ImportPart, context: JobContext) -> JobResult {
        let (import, part) = {
            let mut conn = context.pool.get().await?;
            let import = imports::find(&mut conn, job.import_id).await?;
            (import, parts::find(&mut conn, job.import_id, job.part).await?)
        };
        let (Some(import), Some(part)) = (import.filter(|import| import.flow_id == context.flow_id), part)
        else {
            return Ok(Outcome::Discard("the import is no longer this workflow's".to_owned()));
        };
        let mut writer = Writer::of_part(&import, &part, context.clone());
        let read = match import.kind {
            ImportKind::Products => {
                self.read_part(&import, &part, Products { currency: self.currency }, &mut writer).await
            }
            ImportKind::Stock => self.read_part(&import, &part, Stock, &mut writer).await,
        };
        match read {
            Ok(()) => {
                writer.tell().await?;
                Ok(Outcome::Done(None))
            }
            Err(Stop::File(error)) => Err(Failure::permanent(error)),
            Err(Stop::Interrupted) => {
                Ok(Outcome::Snooze { after: Duration::ZERO, reason: "interrupted".to_owned() })
            }
            // As for a file: an attempt that got somewhere is not one of those that use the job up.
            Err(Stop::Failed(failure)) if failure.retryable && writer.moved() => {
                Ok(Outcome::Snooze { after: Duration::from_secs(1), reason: failure.message })
            }
            Err(Stop::Failed(failure)) => Err(failure),
        }
    }

    async fn read_part<K: Kind>(
        &self,
        import: &ImportRow,
        part: &PartRow,
        kind: K,
        writer: &mut Writer,
    ) -> Result<(), Stop> {
        let (header, top) = self.top(import, &K::COLUMNS).await?;
        let delimiter = top.delimiter();
        drop(top);
        let mut frames = Frames::new(open(&self.files, part), delimiter, part.place);
        let mut chunk = Chunk::default();
        loop {
            let row = frames.next().await?;
            let at_end = row.is_none();
            chunk.extend(row.map(|(row, passed)| line(&kind, &header, &row, passed)));
            if chunk.is_full(self.chunk_rows) || (at_end && !chunk.is_empty()) {
                writer.write(&kind, &chunk).await?;
                chunk.clear();
                crate::fail_point!("import.part_moved");
            }
            if at_end {
                // A file that breaks off between two rows looks like the end of them.
                if frames.place() != part.sizes.iter().sum::<i64>() {
                    return Err(std::io::Error::other("the files of the part break off").into());
                }
                return Ok(());
            }
            if writer.is_cancelled() {
                return Err(Stop::Interrupted);
            }
        }
    }

    /// Adds what the parts have done to the import, and wakes its own job, which goes on from there.
    pub async fn merge(self: Arc<Self>, job: MergeImport, context: JobContext) -> JobResult {
        let mut conn = context.pool.get().await?;
        let split = context.step_result(&mut conn, "split").await?.unwrap_or_default();
        let at_end = split["at_end"].as_bool().unwrap_or(false);
        crate::fail_point!("import.before_merge");
        let finished = conn
            .transaction::<_, Failure, _>(async |conn| {
                parts::merge(conn, job.import_id, job.flow_id, at_end).await?;
                wake(conn, job.import_id).await?;
                context.finish(conn, Some(json!({ "rows": split["rows"] }))).await
            })
            .await?;
        crate::fail_point!("import.after_merge");
        Ok(Outcome::Finished(finished))
    }

    /// Removes a workflow's files; also wakes the import's own job, which may not have slept yet when the merge did. If that is over,
    /// so is the import.
    pub async fn clean(self: Arc<Self>, job: CleanImport, context: JobContext) -> JobResult {
        crate::fail_point!("import.before_clean");
        let removed = self.files.delete_below(&folder(job.import_id, Some(job.flow_id))).await?;
        let mut conn = context.pool.get().await?;
        if let Some(import) = wake(&mut conn, job.import_id).await? {
            run::close(&mut conn, &[import.job_id]).await?;
        }
        Ok(Outcome::Done(Some(json!({ "files": removed }))))
    }
}

/// Lets the import's own job look at once. A dead one has another life: somebody has retried the part that it died of.
async fn wake(conn: &mut Conn, import_id: Uuid) -> Result<Option<ImportRow>, Failure> {
    let found = imports::find(conn, import_id).await?;
    if let Some(import) = &found {
        rework::hurry(conn, &[import.job_id]).await?;
        if import.flow_id.is_none() {
            rework::revive(conn, &[import.job_id], false).await?;
        }
    }
    Ok(found)
}

/// A part's files one behind the other, from where it goes on.
fn open(files: &Files, part: &PartRow) -> impl AsyncRead + Send + Unpin + use<> {
    let mut before = 0;
    let mut rest = Vec::new();
    for (number, size) in part.sizes.iter().enumerate() {
        if before + size > part.place {
            let offset = (part.place - before).max(0).unsigned_abs();
            rest.push((pieces::key(&part.prefix, number), offset));
        }
        before += size;
    }
    let files = files.clone();
    let content = stream::iter(rest)
        .then(move |(key, offset)| {
            let files = files.clone();
            async move { files.open_from(&key, offset).await.map(|file| file.stream) }
        })
        .try_flatten()
        .map_err(std::io::Error::other);
    StreamReader::new(content.boxed())
}
