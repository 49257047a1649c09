//! Events of the past, again, for one pipeline.

use diesel_async::AsyncConnection;
use serde_json::json;
use waybill_jobs::events_lane::replay::{self, Replay};
use waybill_jobs::{
    Failure, JobContext, JobResult, Outcome, events, kinds::ReplayEvents, logs::Level, status,
};
use waybill_schema::Conn;

use crate::fail_point;

/// Events in one transaction: a fraction of a second, and few enough jobs at a time not to bury the pipeline's new ones.
const STEP: i64 = 1_000;

pub(super) async fn run(job: ReplayEvents, cx: &JobContext) -> JobResult {
    let Some(spec) = events::pipeline(&job.pipeline) else {
        return Err(Failure::permanent(format!("there is no pipeline {:?}", job.pipeline)));
    };
    if let Some(topic) = job.topics.iter().find(|topic| !spec.topics.contains(&topic.as_str())) {
        return Err(Failure::permanent(format!("pipeline {} does not react to {topic:?}", spec.name)));
    }
    let replay =
        Replay { pipeline: job.pipeline, topics: job.topics, since: job.since, until: job.until, id: cx.id };
    let mut conn = cx.pool.get().await?;
    let total = replay::count(&mut conn, &replay).await?;
    let Stood { mut after, mut seen, mut queued, mut dead } = stood(&mut conn, cx).await?;
    cx.log(
        Level::Info,
        format!("{seen} of {total} events are looked at, for the pipeline {}", replay.pipeline),
    );
    let mut tenths = tenth(seen, total);
    while !cx.cancelled.is_cancelled() {
        // Where it stands is written with the step: an attempt that goes on from it hands nothing over twice.
        let step = (*conn)
            .transaction(async |conn: &mut Conn| {
                let step = replay::step(conn, &replay, after, STEP).await?;
                let progress = json!({
                    "after": step.last.unwrap_or(after),
                    "done": seen + step.seen,
                    "total": total,
                    "queued": queued + step.queued,
                    "dead": dead + step.dead,
                });
                cx.progress(conn, &progress).await?;
                Ok::<_, Failure>(step)
            })
            .await?;
        seen += step.seen;
        queued += step.queued;
        dead += step.dead;
        fail_point!("replay.after_step");
        if tenth(seen, total) > tenths {
            tenths = tenth(seen, total);
            cx.log(Level::Info, format!("{seen} of {total} events are looked at, {queued} are queued again"));
        }
        match step.last {
            Some(last) => after = last,
            None => {
                cx.log(Level::Info, format!("{queued} events are queued again"));
                return Ok(Outcome::Done(Some(json!({ "seen": seen, "queued": queued, "dead": dead }))));
            }
        }
    }
    Err(Failure::retryable("asked to stop"))
}

/// How many tenths are done: a line each.
fn tenth(done: i64, total: i64) -> i64 {
    done * 10 / total.max(1)
}

/// Where an earlier attempt stopped.
#[derive(Default)]
struct Stood {
    after: i64,
    seen: i64,
    queued: i64,
    dead: i64,
}

async fn stood(conn: &mut Conn, cx: &JobContext) -> Result<Stood, Failure> {
    let noted = status::progress(conn, cx.id).await?.unwrap_or_default();
    let number = |name: &str| noted[name].as_i64().unwrap_or_default();
    Ok(Stood { after: number("after"), seen: number("done"), queued: number("queued"), dead: number("dead") })
}
