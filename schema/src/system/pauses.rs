//! Pausing queues and kinds: the same rows for both, under the name of what is paused.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{BigInt, Bool, Nullable, Text, Timestamptz},
};
use diesel_async::RunQueryDsl;

use crate::{Conn, sql};

/// The statement that pauses `$1` for `$2` because of `$3`: makes the row, or changes the one there is unless it is paused.
macro_rules! pause {
    ($table:literal, $name:literal) => {
        concat!(
            "insert into ",
            $table,
            " as c (",
            $name,
            ", paused_at, paused_by, pause_reason, updated_by)
             values ($1, clock_timestamp(), $2, $3, $2)
             on conflict (",
            $name,
            ") do update
             set paused_at = excluded.paused_at, paused_by = excluded.paused_by, pause_reason = excluded.pause_reason,
                 updated_at = clock_timestamp(), updated_by = excluded.updated_by
             where c.paused_at is null"
        )
    };
}

/// The statement by which `$2` ends the pause of `$1`.
macro_rules! resume {
    ($table:literal, $name:literal) => {
        concat!(
            "update ",
            $table,
            " set paused_at = null, paused_by = null, pause_reason = null, updated_at = clock_timestamp(), updated_by = $2
             where ",
            $name,
            " = $1 and paused_at is not null"
        )
    };
}

async fn pause(
    conn: &mut Conn,
    statement: &'static str,
    name: &str,
    actor: &str,
    reason: &str,
) -> QueryResult<bool> {
    sql(statement)
        .bind::<Text, _>(name)
        .bind::<Text, _>(actor)
        .bind::<Text, _>(reason)
        .execute(conn)
        .await
        .map(|changed| changed == 1)
}

async fn resume(conn: &mut Conn, statement: &'static str, name: &str, actor: &str) -> QueryResult<bool> {
    sql(statement)
        .bind::<Text, _>(name)
        .bind::<Text, _>(actor)
        .execute(conn)
        .await
        .map(|changed| changed == 1)
}

/// Stops claiming from a queue; `false` if it was paused already.
pub async fn pause_queue(conn: &mut Conn, queue: &str, actor: &str, reason: &str) -> QueryResult<bool> {
    pause(conn, pause!("queue_controls", "queue"), queue, actor, reason).await
}

/// Claims from a queue again; `false` if it was not paused.
pub async fn resume_queue(conn: &mut Conn, queue: &str, actor: &str) -> QueryResult<bool> {
    resume(conn, resume!("queue_controls", "queue"), queue, actor).await
}

/// Stops claiming jobs of a kind, in whatever queue; `false` if it was paused already.
pub async fn pause_kind(conn: &mut Conn, kind: &str, actor: &str, reason: &str) -> QueryResult<bool> {
    pause(conn, pause!("kind_controls", "kind"), kind, actor, reason).await
}

/// Claims jobs of a kind again; `false` if it was not paused. Those held meanwhile come back within a second or two per
/// 100,000.
pub async fn resume_kind(conn: &mut Conn, kind: &str, actor: &str) -> QueryResult<bool> {
    resume(conn, resume!("kind_controls", "kind"), kind, actor).await
}

/// A kind that is or was paused.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct KindControl {
    /// The kind.
    #[diesel(sql_type = Text)]
    pub kind: String,
    /// Since when none of it is claimed; `None` while it is not paused.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub paused_at: Option<DateTime<Utc>>,
    /// Who paused it.
    #[diesel(sql_type = Nullable<Text>)]
    pub paused_by: Option<String>,
    /// Why.
    #[diesel(sql_type = Nullable<Text>)]
    pub pause_reason: Option<String>,
    /// Who changed it last.
    #[diesel(sql_type = Text)]
    pub updated_by: String,
    /// Jobs of it that run now.
    #[diesel(sql_type = BigInt)]
    pub running: i64,
    /// As [`QueueControl::dry`](super::controls::QueueControl::dry).
    #[diesel(sql_type = Bool)]
    pub dry: bool,
}

macro_rules! kind_select {
    () => {
        "select c.kind, c.paused_at, c.paused_by, c.pause_reason, c.updated_by, coalesce(r.running, 0) as running,
                coalesce(c.paused_at < clock_timestamp() - interval '2 seconds', false) and r.running is null as dry
         from kind_controls c
         left join (select kind, count(*) as running from running_jobs group by kind) r
              on r.kind = c.kind"
    };
}

/// Every kind with a control, by name.
pub async fn kinds(conn: &mut Conn) -> QueryResult<Vec<KindControl>> {
    sql(concat!(kind_select!(), " order by c.kind")).load(conn).await
}

/// One kind's control; `None` if nothing was ever said of it.
pub async fn kind(conn: &mut Conn, kind: &str) -> QueryResult<Option<KindControl>> {
    sql(concat!(kind_select!(), " where c.kind = $1")).bind::<Text, _>(kind).get_result(conn).await.optional()
}

#[derive(QueryableByName)]
struct RunningOfKind {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = BigInt)]
    running: i64,
}

/// How many jobs of each kind run now; those of which none does are not in it.
pub async fn running_by_kind(conn: &mut Conn) -> QueryResult<BTreeMap<String, i64>> {
    let rows: Vec<RunningOfKind> =
        sql("select kind, count(*) as running from running_jobs group by kind").load(conn).await?;
    Ok(rows.into_iter().map(|row| (row.kind, row.running)).collect())
}
