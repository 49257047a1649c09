//! Where a flow is, for its owner and for operators.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Bool, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::Conn;

/// A batch or workflow.
#[derive(Debug, Clone, Serialize, QueryableByName)]
pub struct FlowView {
    /// The flow.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// `batch` or `workflow`.
    #[diesel(sql_type = Text)]
    pub kind: String,
    /// For people.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// `running`, `undoing`, `done`, `failed` or `cancelled`.
    #[diesel(sql_type = Text)]
    pub state: String,
    /// Whether nobody but its own jobs adds to it.
    #[diesel(sql_type = Bool)]
    pub sealed: bool,
    /// Whose trail it belongs to.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub correlation_id: Option<Uuid>,
    /// Who cancelled it, when and why.
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub cancel: Option<Value>,
    /// Its jobs by state, counted now.
    #[diesel(sql_type = Jsonb)]
    pub jobs: Value,
    /// When it was started.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    /// When it was over.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub finished_at: Option<DateTime<Utc>>,
}

/// A step of a workflow.
#[derive(Debug, Clone, Serialize, QueryableByName)]
pub struct StepView {
    /// Its name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// The steps it needs.
    #[diesel(sql_type = Array<Text>)]
    pub needs: Vec<String>,
    /// `waiting`, `live`, `done`, `dead`, `cancelled`, `skipped`, `undoing`, `undone` or `not_undone`.
    #[diesel(sql_type = Text)]
    pub state: String,
    /// Its job, once it was enqueued.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub job_id: Option<Uuid>,
    /// The job that undoes it.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub undo_job_id: Option<Uuid>,
    /// What it came to.
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub result: Option<Value>,
}

/// A flow.
pub async fn find(conn: &mut Conn, id: Uuid) -> QueryResult<Option<FlowView>> {
    find_where(conn, id, None).await
}

/// A flow of this owner.
pub async fn find_for_owner(conn: &mut Conn, owner_id: Uuid, id: Uuid) -> QueryResult<Option<FlowView>> {
    find_where(conn, id, Some(owner_id)).await
}

async fn find_where(conn: &mut Conn, id: Uuid, owner_id: Option<Uuid>) -> QueryResult<Option<FlowView>> {
    waybill_schema::sql(
        "select id, kind, name, state, sealed, correlation_id, cancel, created_at, finished_at,
             (select coalesce(jsonb_object_agg(state, n), '{}') from (
                  select state, count(*) as n from jobs where flow_id = f.id group by state
                  union all
                  select state, count(*) from job_history where flow_id = f.id group by state
                  union all
                  select 'dead', count(*) from dead_letters where flow_id = f.id having count(*) > 0) t) as jobs
         from flows f where id = $1 and ($2::uuid is null or owner_id = $2)",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<Nullable<SqlUuid>, _>(owner_id)
    .get_result(conn)
    .await
    .optional()
}

/// The steps of a workflow in order; a batch has none. Whether the caller may read them is for the caller to know.
pub async fn steps(conn: &mut Conn, flow: Uuid) -> QueryResult<Vec<StepView>> {
    waybill_schema::sql(
        "select name, needs, state, job_id, undo_job_id, result from flow_steps where flow_id = $1 order by place",
    )
    .bind::<SqlUuid, _>(flow)
    .load(conn)
    .await
}

/// How many flows are open, by kind and state; for gauges.
pub async fn open(conn: &mut Conn) -> QueryResult<Vec<(String, String, i64)>> {
    #[derive(QueryableByName)]
    struct Open {
        #[diesel(sql_type = Text)]
        kind: String,
        #[diesel(sql_type = Text)]
        state: String,
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    let rows: Vec<Open> = waybill_schema::sql(
        "select kind, state, count(*) as n from flows where finished_at is null group by kind, state",
    )
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.kind, row.state, row.n)).collect())
}
