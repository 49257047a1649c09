//! Events of the past, again, for one pipeline.

use diesel_async::AsyncConnection;
use serde_json::json;
use waybill_jobs::events_lane::replay::{self, Replay};
use waybill_jobs::{Failure, JobContext, JobResult, Outcome, events, kinds::ReplayEvents};
use waybill_schema::Conn;

/// Events in one transaction: a fraction of a second, and few enough jobs at a time not to bury the pipeline's new ones.
const STEP: i64 = 1_000;

pub(super) async fn run(job: ReplayEvents, cx: &JobContext) -> JobResult {
    let Some(spec) = events::pipeline(&job.pipeline) else {
        return Err(Failure::permanent(format!("there is no pipeline {:?}", job.pipeline)));
    };
    if let Some(topic) = job.topics.iter().find(|topic| !spec.topics.contains(&topic.as_str())) {
        return Err(Failure::permanent(format!("pipeline {} does not react to {topic:?}", spec.name)));
    }
    // A step that was committed and not noted is repeated and makes no second job, so an attempt may start from the front.
    let replay =
        Replay { pipeline: job.pipeline, topics: job.topics, since: job.since, until: job.until, id: cx.id };
    let mut conn = cx.pool.get().await?;
    let total = replay::count(&mut conn, &replay).await?;
    let (mut after, mut seen, mut queued) = (0, 0, 0);
    while !cx.cancelled.is_cancelled() {
        let progress = json!({ "done": seen, "total": total, "queued": queued });
        let step = (*conn)
            .transaction(async |conn: &mut Conn| {
                cx.progress(conn, &progress).await?;
                Ok::<_, Failure>(replay::step(conn, &replay, after, STEP).await?)
            })
            .await?;
        seen += step.seen;
        queued += step.queued;
        match step.last {
            Some(last) => after = last,
            None => return Ok(Outcome::Done(Some(json!({ "seen": seen, "queued": queued })))),
        }
    }
    Err(Failure::retryable("asked to stop"))
}
