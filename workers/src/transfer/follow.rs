//! What an import's own job does while a workflow has the file: start it, wait for it, end with it.

use std::time::Duration;

use diesel_async::AsyncConnection as _;
use serde_json::Value;
use uuid::Uuid;
use waybill_jobs::{
    Failure, Job, JobContext, JobResult, Outcome, Workflow,
    flows::{self, FlowView, OnDead},
    kinds::{CleanImport, ImportPart, MergeImport, RunImport, SplitImport},
    logs::Level,
};
use waybill_schema::{
    imports::{self, ImportRow, ImportStatus, parts, run},
    system::{rework, workers},
};

use super::run::Importer;

/// Bytes for which another part pays: some thousand rows in several transactions, where its job costs two more.
const PART_BYTES: i64 = 256 * 1024;
/// Parts at most. Many more than any worker runs at a time, so that all have work until nearly the end; few enough for their
/// buffers while they are cut.
const MOST_PARTS: i64 = 16;
/// The workflow's end wakes the job; it looks by itself in case a part is dead.
const LOOK: Duration = Duration::from_secs(5);

const CANCELLED: &str = "its job was cancelled; the rows up to there are in";
const PARTS_CANCELLED: &str = "its parts were cancelled; the rows up to there are in";

/// Starts the workflow of the next stretch. The file's header must have been read.
pub(super) async fn begin(import: &ImportRow, context: &JobContext) -> JobResult {
    let left = import.size_bytes - import.byte_offset;
    let parts = i32::try_from((left / PART_BYTES).clamp(2, MOST_PARTS))?;
    let flow = workflow(import.id, parts).for_job(context.id);
    let flow_id = flow.id();
    let mut conn = context.pool.get().await?;
    conn.transaction::<_, Failure, _>(async |conn| {
        context.guard(conn).await?;
        if parts::begin(conn, import.id, flow_id, RunImport::VERSION).await? {
            flow.start(conn).await?;
        }
        Ok(())
    })
    .await?;
    let (from, size) = (import.byte_offset, import.size_bytes);
    context.log(
        Level::Info,
        format!("hands byte {from} and on of {size} to the workflow {flow_id}, in {parts} parts"),
    );
    crate::fail_point!("import.after_begin");
    Ok(wait())
}

fn workflow(import_id: Uuid, parts: i32) -> Workflow {
    let name = |part: i32| format!("part {part}");
    let flow = Workflow::new("import");
    let flow_id = flow.id();
    let mut flow = flow
        .correlation(import_id)
        // A part that is dead can be retried, and goes on where it was: nothing that is in is taken out again.
        .on_dead(OnDead::Wait)
        .when_over(&CleanImport { import_id, flow_id })
        .step("split", &SplitImport { import_id, parts: parts.unsigned_abs() });
    for part in 0..parts {
        flow = flow.step(name(part), &ImportPart { import_id, part }).after(["split"]);
    }
    flow.step("merge", &MergeImport { import_id, flow_id }).after((0..parts).map(name))
}

/// Whether anybody runs parts. A deployment whose workers' queues are listed one by one may have forgotten theirs: then a
/// file is read by its own job, however large, instead of waiting for nobody.
pub(super) async fn is_served(context: &JobContext) -> Result<bool, Failure> {
    Ok(workers::is_served(&mut *context.pool.get().await?, ImportPart::QUEUE).await?)
}

fn wait() -> Outcome {
    Outcome::Snooze { after: LOOK, reason: "its parts run".to_owned() }
}

/// [`wait`] that says why it is taking so long: whoever ran the parts has gone.
async fn wait_for(context: &JobContext) -> JobResult {
    if is_served(context).await? {
        return Ok(wait());
    }
    tracing::warn!(job = %context.id, "an import's parts wait: no worker serves {}", ImportPart::QUEUE);
    let reason = format!("its parts wait: no worker serves {}", ImportPart::QUEUE);
    Ok(Outcome::Snooze { after: LOOK, reason })
}

fn dead(flow: &FlowView) -> bool {
    flow.jobs.get("dead").and_then(Value::as_i64).is_some_and(|dead| dead > 0)
}

/// Looks after the workflow that has the import.
pub(super) async fn follow(import: &ImportRow, flow_id: Uuid, context: &JobContext) -> JobResult {
    let mut conn = context.pool.get().await?;
    let flow = flows::find(&mut conn, flow_id).await?;
    match flow {
        // Merged since the import was read.
        Some(flow) if flow.state == "done" => Ok(wait()),
        Some(flow) if flow.finished_at.is_none() && !dead(&flow) => {
            run::start(&mut conn, import.id, context.id).await?;
            drop(conn);
            wait_for(context).await
        }
        // Told before, and somebody has retried this job: that is meant for what it died of.
        Some(flow) if flow.finished_at.is_none() && import.status == ImportStatus::Failed => {
            conn.transaction::<_, Failure, _>(async |conn| {
                context.guard(conn).await?;
                run::start(conn, import.id, context.id).await?;
                let steps = flows::steps_of(conn, flow.id).await?;
                let jobs: Vec<Uuid> = steps.into_iter().filter_map(|step| step.job_id).collect();
                rework::revive(conn, &jobs, false).await?;
                Ok(())
            })
            .await?;
            Ok(wait())
        }
        Some(flow) if flow.finished_at.is_none() => {
            context.log(Level::Error, format!("a part of the workflow {flow_id} is dead"));
            run::fail(&mut conn, import.id, run::FAILED).await?;
            Err(Failure::permanent("a part of it is dead; retrying this job retries that"))
        }
        _ => {
            run::fail(&mut conn, import.id, PARTS_CANCELLED).await?;
            Ok(Outcome::Discard(PARTS_CANCELLED.to_owned()))
        }
    }
}

impl Importer {
    /// What cancelling an import that has begun comes to: its workflow ends, and then the import.
    pub async fn undo(self: std::sync::Arc<Self>, job: RunImport, context: JobContext) -> JobResult {
        let mut conn = context.pool.get().await?;
        let Some(import) = imports::find(&mut conn, job.import_id).await? else { return Ok(Outcome::done()) };
        if let Some(flow_id) = import.flow_id {
            flows::cancel(&mut conn, flow_id, "import", "the import was cancelled").await?;
            let flow = flows::find(&mut conn, flow_id).await?;
            if flow.is_some_and(|flow| flow.finished_at.is_none()) {
                let reason = "its parts end".to_owned();
                return Ok(Outcome::Snooze { after: Duration::from_secs(1), reason });
            }
        }
        let finished = conn
            .transaction::<_, Failure, _>(async |conn| {
                run::fail(conn, import.id, CANCELLED).await?;
                context.finish(conn, None).await
            })
            .await?;
        Ok(Outcome::Finished(finished))
    }
}
