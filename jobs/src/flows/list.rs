//! Flows as operators look for them, and those that a dead job holds up.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Bool, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::Conn;

/// A flow in a list.
#[derive(Debug, Clone, QueryableByName)]
pub struct FlowRow {
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
    /// Whose trail it belongs to.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub correlation_id: Option<Uuid>,
    /// The user who may read it.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub owner_id: Option<Uuid>,
    /// Whether somebody cancelled it.
    #[diesel(sql_type = Bool)]
    pub cancelled: bool,
    /// Whether it stands still until somebody has decided about a dead letter: one that undoes a step, or any where dead jobs are
    /// waited for.
    #[diesel(sql_type = Bool)]
    pub held: bool,
    /// Once over: its jobs by how they ended.
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub report: Option<Value>,
    /// When it was started.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    /// When it was over.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub finished_at: Option<DateTime<Utc>>,
}

/// Which flows; what is none, or empty, does not filter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In these states.
    pub states: Vec<String>,
    /// `batch` or `workflow`.
    pub kind: Option<String>,
    /// Of this name.
    pub name: Option<String>,
    /// Of this order, import, ...
    pub correlation_id: Option<Uuid>,
    /// Of this user.
    pub owner_id: Option<Uuid>,
    /// Started at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Started before this.
    pub until: Option<DateTime<Utc>>,
    /// Only those that a dead letter holds up.
    pub held: bool,
}

/// Whether `d`, a dead letter, holds up the open flow `f`, whose it is. The check `flows_held` says the same.
macro_rules! holds {
    () => {
        "(d.undo or f.state = 'running' and f.on_dead_step = 'wait'
          or exists (select from flow_steps s where s.flow_id = f.id and s.undo_job_id = d.id))"
    };
}

macro_rules! held {
    () => {
        concat!(
            "(f.finished_at is null and exists (select from dead_letters d where d.flow_id = f.id and ",
            holds!(),
            "))"
        )
    };
}

/// Flows, the newest first, after the one with the id `after`.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    after: Option<Uuid>,
    limit: i64,
) -> QueryResult<Vec<FlowRow>> {
    // Planned for its values each time, as the list of jobs is.
    diesel::sql_query(concat!(
        "select id, kind, name, state, correlation_id, owner_id, cancel is not null as cancelled, ",
        held!(),
        " as held, report, created_at, finished_at
         from flows f
         where (cardinality($1::text[]) = 0 or state = any($1)) and ($2::text is null or kind = $2)
           and ($3::text is null or name = $3) and ($4::uuid is null or correlation_id = $4)
           and ($5::uuid is null or owner_id = $5) and ($6::timestamptz is null or created_at >= $6)
           and ($7::timestamptz is null or created_at < $7) and (not $8 or ",
        held!(),
        ") and ($9::uuid is null or id < $9)
         order by id desc limit $10"
    ))
    .bind::<Array<Text>, _>(&filter.states)
    .bind::<Nullable<Text>, _>(filter.kind.as_deref())
    .bind::<Nullable<Text>, _>(filter.name.as_deref())
    .bind::<Nullable<SqlUuid>, _>(filter.correlation_id)
    .bind::<Nullable<SqlUuid>, _>(filter.owner_id)
    .bind::<Nullable<Timestamptz>, _>(filter.since)
    .bind::<Nullable<Timestamptz>, _>(filter.until)
    .bind::<Bool, _>(filter.held)
    .bind::<Nullable<SqlUuid>, _>(after)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// The dead letters that hold up a flow, the oldest first, at most `limit`: what somebody must decide before it goes on.
pub async fn held_by(conn: &mut Conn, flow: Uuid, limit: i64) -> QueryResult<Vec<Uuid>> {
    #[derive(QueryableByName)]
    struct Letter {
        #[diesel(sql_type = SqlUuid)]
        id: Uuid,
    }
    let letters: Vec<Letter> = waybill_schema::sql(concat!(
        "select d.id from dead_letters d join flows f on f.id = d.flow_id
         where f.id = $1 and f.finished_at is null and ",
        holds!(),
        " order by d.died_at, d.id limit $2"
    ))
    .bind::<SqlUuid, _>(flow)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await?;
    Ok(letters.into_iter().map(|letter| letter.id).collect())
}

/// How many flows a dead letter holds up; for a gauge.
pub async fn held(conn: &mut Conn) -> QueryResult<i64> {
    #[derive(QueryableByName)]
    struct Held {
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    let held: Held = waybill_schema::sql(concat!("select count(*) as n from flows f where ", held!()))
        .get_result(conn)
        .await?;
    Ok(held.n)
}
