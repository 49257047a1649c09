//! Whether a flow goes on, asked of the tables.

use std::time::{Duration, Instant};

use diesel::sql_types::{Array, BigInt, Bool, Text, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::{AsyncConnection, RunQueryDsl};
use serde_json::{Map, Value};
use uuid::Uuid;
use waybill_schema::Conn;

use super::{locked::Flow, steps};

/// Flows looked after in one part of a sweep.
const SWEPT: i64 = 500;
/// And for how long: whoever sweeps also looks for dead workers. One that fails takes half of it at most, as a rule none.
const TIME: Duration = Duration::from_secs(1);

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// What makes a flow one to look after, whatever was done for it before. `f` is the flow.
macro_rules! goes_on {
    () => {
        "f.finished_at is null and case f.kind
             when 'batch' then f.sealed and not exists (select from jobs j where j.flow_id = f.id)
                     and (f.on_dead_step <> 'wait' or f.cancel is not null
                          or not exists (select from dead_letters d where d.flow_id = f.id))
                 or f.dead_told_at is null and f.when_dead is not null
                     and exists (select from dead_letters d where d.flow_id = f.id)
             else f.state = 'running' and (f.cancel is not null or f.for_job is not null
                     and not exists (select from jobs j where j.id = f.for_job)
                     and not exists (select from dead_letters d where d.id = f.for_job))
                 or exists (
                 select from flow_steps s
                 where s.flow_id = f.id and case s.state
                     when 'live' then not exists (select from jobs j where j.id = s.job_id)
                         and not exists (select from dead_letters d where d.id = s.job_id and d.undo)
                     when 'dead' then not exists (select from dead_letters d where d.id = s.job_id)
                     when 'undoing' then not exists (select from jobs j where j.id = s.undo_job_id)
                         and not exists (select from dead_letters d where d.id = s.undo_job_id)
                     else false end)
             end"
    };
}

/// Looks after these flows, each in a transaction of its own, after the completion of one of their jobs was committed.
pub(super) async fn settle(conn: &mut Conn, flows: &[Uuid]) -> QueryResult<Looked> {
    let due: Vec<Id> = waybill_schema::sql(concat!(
        "select f.id from flows f where f.id = any($1) and ",
        goes_on!(),
        " order by f.id"
    ))
    .bind::<Array<SqlUuid>, _>(flows)
    .load(conn)
    .await?;
    Ok(each(conn, due, None).await)
}

/// Looks after all flows that nobody has looked after, because their worker died or a job ended in another way. Answers with the
/// queues that got jobs. What others have locked is left to the next sweep.
pub async fn sweep(conn: &mut Conn) -> QueryResult<Vec<String>> {
    let mut all = Looked::default();
    let mut after = Uuid::nil();
    loop {
        let part = sweep_after(conn, after).await?;
        all.queues.extend(part.looked.queues);
        all.failed = part.looked.failed.or(all.failed);
        if part.next.is_nil() {
            return all.answer();
        }
        after = part.next;
    }
}

/// A part of a sweep.
pub(crate) struct Part {
    /// What came of it.
    pub(crate) looked: Looked,
    /// Where the next part goes on; nil after the last, which is where the first begins.
    pub(crate) next: Uuid,
}

/// A part of [`sweep`]: at most 500 flows, and a second, of those behind `after`. Whoever goes round by it comes to every flow,
/// however many in front of it fail each time, or are locked.
pub(crate) async fn sweep_after(conn: &mut Conn, after: Uuid) -> QueryResult<Part> {
    let due: Vec<Id> = waybill_schema::sql(concat!(
        "select f.id from flows f where f.id > $2 and ",
        goes_on!(),
        " order by f.id limit $1"
    ))
    .bind::<BigInt, _>(SWEPT)
    .bind::<SqlUuid, _>(after)
    .load(conn)
    .await?;
    let full = i64::try_from(due.len()).is_ok_and(|flows| flows == SWEPT);
    let last = due.last().filter(|_| full).map_or(Uuid::nil(), |last| last.id);
    let looked = each(conn, due, Some(Instant::now() + TIME)).await;
    let next = looked.stopped.unwrap_or(last);
    Ok(Part { looked, next })
}

/// What looking after some flows came to.
#[derive(Default)]
pub(crate) struct Looked {
    /// The queues that got jobs, each once.
    pub(crate) queues: Vec<String>,
    /// Flows that somebody else has locked, who may have looked before what is new; or that have ended meanwhile.
    pub(super) taken: Vec<Uuid>,
    /// The last one looked at, if the time was over then.
    stopped: Option<Uuid>,
    /// Why one did not go on.
    failed: Option<diesel::result::Error>,
}

impl Looked {
    /// An error only if nothing went on.
    pub(super) fn answer(mut self) -> QueryResult<Vec<String>> {
        self.queues.sort_unstable();
        self.queues.dedup();
        match self.failed {
            Some(error) if self.queues.is_empty() => Err(error),
            _ => Ok(self.queues),
        }
    }
}

async fn each(conn: &mut Conn, due: Vec<Id>, until: Option<Instant>) -> Looked {
    let mut looked = Looked::default();
    let mut due = due.into_iter().peekable();
    while let Some(Id { id }) = due.next() {
        match conn.transaction(async |conn| try_one(conn, id).await).await {
            Ok(Some(more)) => {
                looked.queues.extend(more);
                #[cfg(feature = "fail-points")]
                let _ = crate::fail_point::strike("flow.settled").await;
            }
            Ok(None) => looked.taken.push(id),
            // One that cannot go on must not hold up the others.
            Err(error) => {
                tracing::warn!(flow = %id, %error, "a flow does not go on; it is tried again");
                looked.failed = Some(error);
            }
        }
        if due.peek().is_some() && until.is_some_and(|until| Instant::now() > until) {
            looked.stopped = Some(id);
            break;
        }
    }
    looked.queues.sort_unstable();
    looked.queues.dedup();
    looked
}

/// Does what is to do for a flow in the transaction open on `conn`; answers with the queues that got jobs.
pub(super) async fn one(conn: &mut Conn, id: Uuid) -> QueryResult<Vec<String>> {
    match Flow::lock(conn, id).await? {
        None => Ok(Vec::new()),
        Some(flow) => look_after(conn, flow).await,
    }
}

/// [`one`], unless somebody else is at it. Nobody waits here: one flow that is locked for long, by an open session of a person
/// perhaps, would hold up all that come after it.
async fn try_one(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Vec<String>>> {
    let Some(flow) = Flow::try_lock(conn, id).await? else { return Ok(None) };
    let queues = look_after(conn, flow).await?;
    #[cfg(feature = "fail-points")]
    crate::fail_point::strike_query("flow.settling").await?;
    Ok(Some(queues))
}

async fn look_after(conn: &mut Conn, flow: Flow) -> QueryResult<Vec<String>> {
    match flow.kind.as_str() {
        "batch" => batch(conn, flow).await,
        _ => steps::advance(conn, flow).await,
    }
}

#[derive(QueryableByName)]
struct Batch {
    #[diesel(sql_type = Bool)]
    live: bool,
    #[diesel(sql_type = Bool)]
    dead: bool,
}

#[derive(QueryableByName)]
struct Ended {
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    jobs: i64,
}

async fn batch(conn: &mut Conn, mut flow: Flow) -> QueryResult<Vec<String>> {
    let now: Batch = waybill_schema::sql(
        "select exists (select from jobs where flow_id = $1) as live,
                exists (select from dead_letters where flow_id = $1) as dead",
    )
    .bind::<SqlUuid, _>(flow.id)
    .get_result(conn)
    .await?;
    let mut queues = Vec::new();
    if now.dead {
        queues.extend(flow.tell_dead(conn).await?);
    }
    let waits = now.dead && flow.on_dead_step == "wait" && flow.cancel.is_none();
    if now.live || !flow.sealed || waits {
        return Ok(queues);
    }
    let report = report(conn, flow.id).await?;
    let state = match () {
        () if flow.cancel.is_some() => "cancelled",
        () if now.dead => "failed",
        () => "done",
    };
    queues.extend(flow.end(conn, state, &report).await?);
    Ok(queues)
}

/// The jobs of a flow that is over, by how they ended. History that was shed since is not in it, which only a batch older
/// than the retention can meet.
pub(super) async fn report(conn: &mut Conn, flow: Uuid) -> QueryResult<Value> {
    let rows: Vec<Ended> = waybill_schema::sql(
        "select state, count(*) as jobs from job_history where flow_id = $1 group by state
         union all
         select 'dead', count(*) from dead_letters where flow_id = $1 having count(*) > 0",
    )
    .bind::<SqlUuid, _>(flow)
    .load(conn)
    .await?;
    let counts: Map<String, Value> = rows.into_iter().map(|row| (row.state, row.jobs.into())).collect();
    Ok(Value::Object(counts))
}
