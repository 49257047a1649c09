//! Jobs as they are followed.

use std::{collections::HashMap, fmt::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use poem_openapi::types::ToJSON;
use uuid::Uuid;
use waybill_jobs::{
    logs,
    status::{self, JobView},
};
use waybill_schema::{Conn, Pool, system::jobs};

use super::{
    dto::{JobDto, LogLineDto},
    operate::is_over,
};
use crate::{
    error::ApiResult,
    watch::{Events, Hub, Opened, Watched},
};

/// The id of the last event of a stream: a client that sends it back has seen the end.
const OVER: &str = "over";
/// Lines read at once.
const LINES: i64 = 200;

/// Watches jobs by marks of what their owners see.
pub struct Jobs;

/// The hub of one process.
pub type JobHub = Hub<Jobs>;

/// A job and the place of the last line that it has logged.
#[derive(Debug, Clone)]
pub struct Followed {
    job: JobView,
    logged: i64,
}

impl Watched for Jobs {
    type View = Followed;
    type Dto = JobDto;

    const THINGS: &'static str = "jobs";
    const GAUGE: &'static str = "waybill_job_watchers";
    const MAX_WATCHERS: usize = 10_000;
    const TICK: Duration = Duration::from_millis(200);
    const LONGEST_TICK: Duration = Duration::from_secs(2);
    const EVENTS: &'static str = "Events `job`: `data` is the job. Events `log`: `data` is a line of its log, as `GET /v1/jobs/{id}/logs` has it";
    const OVER: &'static str = "The job is over, and you have seen how";

    async fn marks(conn: &mut Conn, ids: &[Uuid]) -> ApiResult<HashMap<Uuid, i64>> {
        Ok(jobs::marks(conn, ids).await?.into_iter().map(|row| (row.id, row.mark)).collect())
    }

    async fn load(conn: &mut Conn, ids: &[Uuid]) -> ApiResult<Vec<Followed>> {
        // The jobs before the lines: what a run has logged is written before its outcome.
        let jobs = status::find_all(conn, ids).await?;
        let logged = logs::ends(conn, ids).await?;
        Ok(jobs
            .into_iter()
            .map(|job| Followed { logged: logged.get(&job.id).copied().unwrap_or_default(), job })
            .collect())
    }

    fn id(followed: &Followed) -> Uuid {
        followed.job.id
    }

    // Of a job that ended between the two looks the mark says nothing: the next look finds it gone.
    fn mark(_followed: &Followed, read: Option<i64>) -> i64 {
        read.unwrap_or_default()
    }

    fn has_moved(known: Option<i64>, now: Option<i64>, told: Option<&Followed>) -> bool {
        match (known, now) {
            (Some(known), Some(now)) => known != now,
            (None, _) => true,
            // Over. Once that has been told nobody follows it any more, unless it is asked for again.
            (Some(_), None) => !told.is_some_and(Self::is_settled),
        }
    }

    fn is_news(_followed: &Followed, _seen: Option<i64>) -> bool {
        true
    }

    fn is_settled(followed: &Followed) -> bool {
        is_over(&followed.job.state) || followed.job.state == "dead"
    }
}

/// Starts with the lines of the job's log that the client has not seen and the job as it is, goes on with every line and every
/// move, and ends with the one that settles it. A move between the two is seen by the first look of the hub, which reports what
/// it finds. `with_internals` is for those who run the shop.
///
/// The id of an event is the place of the last line before or in it, so that a client which connects again misses none and gets none
/// twice; that of the last event says that it was the last.
pub async fn events(
    hub: &JobHub,
    pool: &Pool,
    conn: &mut Conn,
    job: JobView,
    last_seen: Option<&str>,
    with_internals: bool,
) -> ApiResult<Events<Jobs>> {
    let (id, over) = (job.id, is_over(&job.state) || job.state == "dead");
    if over && last_seen == Some(OVER) {
        return Ok(Events::Over);
    }
    let watcher = if over { None } else { Some(hub.watch(id, None)?) };
    let seen = last_seen.and_then(|id| id.parse().ok()).unwrap_or_default();
    let mut teller = Teller { seen, told: String::new(), with_internals };
    let mut first = teller.lines(conn, id).await?;
    first.push_str(&teller.job(job)?);
    // What is told, and up to which line, is one stream's own: it is lent to each event's future and comes back with it.
    let teller = Arc::new(tokio::sync::Mutex::new(teller));
    let pool = pool.clone();
    let frame = move |followed: Arc<Followed>| -> BoxFuture<'static, Option<Bytes>> {
        let (teller, pool) = (Arc::clone(&teller), pool.clone());
        Box::pin(async move {
            let mut teller = teller.lock().await;
            match teller.event(&pool, &followed).await {
                Ok(event) => Some(Bytes::from(event)),
                Err(error) => {
                    error.log();
                    None
                }
            }
        })
    };
    Ok(Events::Open(Opened { first: Some(first.into()), watcher, frame: Box::new(frame) }))
}

/// What one stream has told.
struct Teller {
    /// The place of the last line.
    seen: i64,
    /// The job as it was told last.
    told: String,
    with_internals: bool,
}

impl Teller {
    /// The lines and the job, as far as they are new.
    async fn event(&mut self, pool: &Pool, followed: &Followed) -> ApiResult<String> {
        let mut event = String::new();
        if followed.logged > self.seen {
            event = self.lines(&mut *pool.get().await?, followed.job.id).await?;
        }
        event.push_str(&self.job(followed.job.clone())?);
        Ok(event)
    }

    /// `event: log` for each line that is not told yet.
    async fn lines(&mut self, conn: &mut Conn, id: Uuid) -> ApiResult<String> {
        let mut events = String::new();
        loop {
            let lines = logs::lines(conn, id, self.seen, LINES).await?;
            let full = i64::try_from(lines.len()).is_ok_and(|lines| lines == LINES);
            for line in lines {
                self.seen = line.seq;
                let data = LogLineDto::from(line).to_json_string();
                // Writing to a String cannot fail.
                let _ = write!(events, "id: {}\nevent: log\ndata: {data}\n\n", self.seen);
            }
            if !full {
                return Ok(events);
            }
        }
    }

    /// `event: job`, unless only lines have come since.
    fn job(&mut self, job: JobView) -> ApiResult<String> {
        let over = is_over(&job.state) || job.state == "dead";
        let id = if over { OVER.to_owned() } else { self.seen.to_string() };
        let data = JobDto::new(job, self.with_internals)?.to_json_string();
        if data == self.told && !over {
            return Ok(String::new());
        }
        let event = format!("id: {id}\nevent: job\ndata: {data}\n\n");
        self.told = data;
        Ok(event)
    }
}
