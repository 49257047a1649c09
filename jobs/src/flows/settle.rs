//! Whether a flow goes on, asked of the tables.

use diesel::sql_types::{Array, BigInt, Bool, Jsonb, Nullable, Text, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::{AsyncConnection, RunQueryDsl};
use serde_json::{Map, Value};
use uuid::Uuid;
use waybill_schema::Conn;

use super::{
    planned::{Common, put, read},
    steps,
};

/// Flows looked after in one part of a sweep.
const SWEPT: i64 = 500;

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// A flow whose row is locked.
#[derive(QueryableByName)]
pub(super) struct Flow {
    #[diesel(sql_type = SqlUuid)]
    pub(super) id: Uuid,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    pub(super) state: String,
    #[diesel(sql_type = Bool)]
    sealed: bool,
    #[diesel(sql_type = Text)]
    pub(super) on_dead_step: String,
    #[diesel(sql_type = Nullable<Jsonb>)]
    when_over: Option<Value>,
    #[diesel(sql_type = Nullable<Jsonb>)]
    when_dead: Option<Value>,
    #[diesel(sql_type = Bool)]
    told: bool,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    correlation_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    owner_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    subject_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub(super) cancel: Option<Value>,
}

impl Flow {
    pub(super) fn common(&self) -> Common {
        Common {
            flow: self.id,
            correlation_id: self.correlation_id,
            owner_id: self.owner_id,
            subject_id: self.subject_id,
        }
    }

    /// Enqueues the callback for the first dead job, once; answers with its queue.
    pub(super) async fn tell_dead(&mut self, conn: &mut Conn) -> QueryResult<Option<String>> {
        if self.told {
            return Ok(None);
        }
        self.told = true;
        waybill_schema::sql("update flows set dead_told_at = clock_timestamp() where id = $1")
            .bind::<SqlUuid, _>(self.id)
            .execute(conn)
            .await?;
        self.call(conn, self.when_dead.clone()).await
    }

    /// Ends the flow and enqueues its callback; answers with its queue.
    pub(super) async fn end(
        &self,
        conn: &mut Conn,
        state: &str,
        report: &Value,
    ) -> QueryResult<Option<String>> {
        waybill_schema::sql(
            "update flows set state = $2, report = $3, finished_at = clock_timestamp() where id = $1",
        )
        .bind::<SqlUuid, _>(self.id)
        .bind::<Text, _>(state)
        .bind::<Jsonb, _>(report)
        .execute(conn)
        .await?;
        self.call(conn, self.when_over.clone()).await
    }

    async fn call(&self, conn: &Conn, planned: Option<Value>) -> QueryResult<Option<String>> {
        let Some(planned) = planned else { return Ok(None) };
        let row = read(planned)?.row(&self.common(), None);
        let queue = row.queue.clone();
        put(conn, &[row]).await?;
        Ok(Some(queue))
    }
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
             else f.cancel is not null and f.state = 'running' or exists (
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

/// Looks after these flows, each in a transaction of its own, after the completion of one of their jobs was committed. Answers
/// with the queues that got jobs.
pub async fn settle(conn: &mut Conn, flows: &[Uuid]) -> QueryResult<Vec<String>> {
    let due: Vec<Id> = waybill_schema::sql(concat!(
        "select f.id from flows f where f.id = any($1) and ",
        goes_on!(),
        " order by f.id"
    ))
    .bind::<Array<SqlUuid>, _>(flows)
    .load(conn)
    .await?;
    each(conn, due).await.answer()
}

/// [`settle`] for all flows that nobody has looked after, because their worker died or a job ended in another way.
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

/// A part of [`sweep`]: at most 500 flows, those behind `after`. Whoever goes round by it comes to every flow, however many in
/// front of it fail each time.
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
    let next = due.last().filter(|_| full).map_or(Uuid::nil(), |last| last.id);
    Ok(Part { looked: each(conn, due).await, next })
}

/// What looking after some flows came to.
#[derive(Default)]
pub(crate) struct Looked {
    /// The queues that got jobs, each once.
    pub(crate) queues: Vec<String>,
    /// Why one did not go on.
    failed: Option<diesel::result::Error>,
}

impl Looked {
    /// An error only if nothing went on.
    fn answer(mut self) -> QueryResult<Vec<String>> {
        self.queues.sort_unstable();
        self.queues.dedup();
        match self.failed {
            Some(error) if self.queues.is_empty() => Err(error),
            _ => Ok(self.queues),
        }
    }
}

async fn each(conn: &mut Conn, due: Vec<Id>) -> Looked {
    let mut looked = Looked::default();
    for Id { id } in due {
        match conn.transaction(async |conn| one(conn, id).await).await {
            Ok(more) => looked.queues.extend(more),
            // One that cannot go on must not hold up the others.
            Err(error) => {
                tracing::warn!(flow = %id, %error, "a flow does not go on; it is tried again");
                looked.failed = Some(error);
            }
        }
    }
    looked.queues.sort_unstable();
    looked.queues.dedup();
    looked
}

/// Does what is to do for a flow in the transaction open on `conn`; answers with the queues that got jobs.
pub(super) async fn one(conn: &mut Conn, id: Uuid) -> QueryResult<Vec<String>> {
    // The lock in a statement of its own: the next one sees what was committed while this one waited.
    let flow: Option<Flow> = waybill_schema::sql(
        "select id, kind, state, sealed, on_dead_step, when_over, when_dead, dead_told_at is not null as told,
                correlation_id, owner_id, subject_id, cancel
         from flows where id = $1 and finished_at is null for update",
    )
    .bind::<SqlUuid, _>(id)
    .get_result(conn)
    .await
    .optional()?;
    match flow {
        None => Ok(Vec::new()),
        Some(flow) if flow.kind == "batch" => batch(conn, flow).await,
        Some(flow) => steps::advance(conn, flow).await,
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
