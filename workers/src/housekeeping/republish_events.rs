//! Events of the past to the broker, for consumers with queues of their own.

use chrono::{DateTime, Utc};
use serde_json::json;
use waybill_jobs::events_lane::{
    log::Place,
    republish::{self, Republisher},
};
use waybill_jobs::{Failure, JobContext, JobResult, Outcome, kinds::RepublishEvents, status};
use waybill_platform::config::BrokerConfig;

use crate::fail_point;

/// Events read and confirmed at a time.
const STEP: i64 = 500;

pub(super) async fn run(job: RepublishEvents, broker: &BrokerConfig, cx: &JobContext) -> JobResult {
    let Some(url) = &broker.url else { return Err(Failure::permanent("no broker is configured")) };
    let (mut after, mut done) = stood(cx).await?;
    let republisher = Republisher::connect(url, &broker.exchange).await.map_err(Failure::retryable)?;
    while !cx.cancelled.is_cancelled() {
        let again = republish::read(&mut *cx.pool.get().await?, &job, after, STEP).await?;
        let Some(last) = again.last else {
            republisher.close().await;
            return Ok(Outcome::Done(Some(json!({ "published": done }))));
        };
        republisher.publish(&again).await.map_err(Failure::retryable)?;
        fail_point!("republish.published");
        done += i64::try_from(again.len()).unwrap_or_default();
        // After the confirms: an attempt that ends in between publishes a step twice, which consumers know by the ids.
        after = Some(last);
        let progress = json!({ "done": done, "at": last.0, "seq": last.1 });
        cx.progress(&mut *cx.pool.get().await?, &progress).await?;
        fail_point!("republish.after_step");
    }
    Err(Failure::retryable("asked to stop"))
}

/// Where an earlier attempt stopped, and how many it had published.
async fn stood(cx: &JobContext) -> Result<(Option<Place>, i64), Failure> {
    let noted = status::progress(&mut *cx.pool.get().await?, cx.id).await?.unwrap_or_default();
    let at = noted["at"].as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok());
    Ok((at.zip(noted["seq"].as_i64()), noted["done"].as_i64().unwrap_or_default()))
}
