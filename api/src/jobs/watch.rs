//! Jobs as they are followed.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use poem_openapi::types::ToJSON;
use uuid::Uuid;
use waybill_jobs::status::{self, JobView};
use waybill_schema::{Conn, system::jobs};

use super::{dto::JobDto, operate::is_over};
use crate::{
    error::ApiResult,
    watch::{Events, Hub, Opened, Watched},
};

/// The id of the last event of a stream: a client that sends it back has seen the end.
const OVER: &str = "over";

/// Watches jobs by marks of what their owners see.
pub struct Jobs;

/// The hub of one process.
pub type JobHub = Hub<Jobs>;

impl Watched for Jobs {
    type View = JobView;
    type Dto = JobDto;

    const THINGS: &'static str = "jobs";
    const GAUGE: &'static str = "waybill_job_watchers";
    const MAX_WATCHERS: usize = 10_000;
    const TICK: Duration = Duration::from_millis(200);
    const LONGEST_TICK: Duration = Duration::from_secs(2);
    const EVENTS: &'static str = "Events `job`: `data` is the job";
    const OVER: &'static str = "The job is over, and you have seen how";

    async fn marks(conn: &mut Conn, ids: &[Uuid]) -> ApiResult<HashMap<Uuid, i64>> {
        Ok(jobs::marks(conn, ids).await?.into_iter().map(|row| (row.id, row.mark)).collect())
    }

    async fn load(conn: &mut Conn, ids: &[Uuid]) -> ApiResult<Vec<JobView>> {
        Ok(status::find_all(conn, ids).await?)
    }

    fn id(job: &JobView) -> Uuid {
        job.id
    }

    // Of a job that ended between the two looks the mark says nothing: the next look finds it gone.
    fn mark(_job: &JobView, read: Option<i64>) -> i64 {
        read.unwrap_or_default()
    }

    fn has_moved(known: Option<i64>, now: Option<i64>, told: Option<&JobView>) -> bool {
        match (known, now) {
            (Some(known), Some(now)) => known != now,
            (None, _) => true,
            // Over. Once that has been told nobody follows it any more, unless it is asked for again.
            (Some(_), None) => !told.is_some_and(Self::is_settled),
        }
    }

    fn is_news(_job: &JobView, _seen: Option<i64>) -> bool {
        true
    }

    fn is_settled(job: &JobView) -> bool {
        is_over(&job.state) || job.state == "dead"
    }
}

/// Starts with the job as it is, goes on with every move, and ends with the one that settles it. A move between the two is
/// seen by the first look of the hub, which reports what it finds. `with_internals` is for those who run the shop.
pub fn events(
    hub: &JobHub,
    job: JobView,
    last_seen: Option<&str>,
    with_internals: bool,
) -> ApiResult<Events<Jobs>> {
    let settled = Jobs::is_settled(&job);
    if settled && last_seen == Some(OVER) {
        return Ok(Events::Over);
    }
    let watcher = if settled { None } else { Some(hub.watch(job.id, None)?) };
    let first = Some(frame(job, with_internals)?);
    let frame = Box::new(move |job: &JobView| frame(job.clone(), with_internals).ok());
    Ok(Events::Open(Opened { first, watcher, frame }))
}

/// `event: job`; its id says whether it is the last.
fn frame(job: JobView, with_internals: bool) -> ApiResult<Bytes> {
    let id = if Jobs::is_settled(&job) { OVER } else { "live" };
    let dto = JobDto::new(job, with_internals)?;
    Ok(format!("id: {id}\nevent: job\ndata: {}\n\n", dto.to_json_string()).into())
}
