//! Jobs by what is looked for.

use chrono::{DateTime, Utc};
use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::JobRow;
use crate::Conn;

/// What to look for; what is none, or empty, does not filter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only in these states.
    pub states: Vec<String>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only of this queue.
    pub queue: Option<String>,
    /// Only of this order, import, ...
    pub correlation_id: Option<Uuid>,
    /// Only of this user.
    pub owner_id: Option<Uuid>,
    /// Only those whose errors or reason contain this, in any case.
    pub error: Option<String>,
    /// Enqueued at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Enqueued before this.
    pub until: Option<DateTime<Utc>>,
}

/// The condition on one of the three tables. `$state` and `$reason` are its expressions for both, `$ended` a condition of
/// its own.
macro_rules! matching {
    ($state:literal, $reason:literal, $ended:literal) => {
        concat!(
            "(cardinality($1::text[]) = 0 or ",
            $state,
            " = any($1)) and ($2::text is null or kind = $2)
             and ($3::text is null or queue = $3) and ($4::uuid is null or correlation_id = $4)
             and ($5::uuid is null or owner_id = $5) and ($7::timestamptz is null or created_at >= $7)
             and ($8::timestamptz is null or created_at < $8) and ($9::uuid is null or id < $9) and ",
            $ended,
            "
             and ($6::text is null or position(lower($6) in lower(coalesce(",
            $reason,
            ", ''))) > 0
                  or exists (select from jsonb_array_elements(failures) f(entry)
                             where position(lower($6) in lower(f.entry ->> 'error')) > 0))"
        )
    };
}

macro_rules! found {
    ($($columns:tt)+) => {
        concat!(
            "(select ",
            $($columns)+,
            ", state, null::timestamptz as finished_at, null::text as reason from jobs
              where ",
            matching!("state", "null::text", "true"),
            " order by id desc limit $10)
             union all
             (select ",
            $($columns)+,
            ", 'dead', died_at, reason from dead_letters
              where ",
            matching!("'dead'", "reason", "true"),
            " order by id desc limit $10)
             union all
             (select ",
            $($columns)+,
            ", state, finished_at, reason from job_history
              where ",
            // A job ends after it is enqueued: leaves out the partitions of the days before.
            matching!("state", "reason", "($7::timestamptz is null or finished_at >= $7)"),
            " order by id desc limit $10)"
        )
    };
}

const LIST: &str = concat!("select * from (", found!(row_columns!()), ") found order by id desc limit $10");

const IDS: &str = concat!("select id, state from (", found!("id"), ") found order by id desc limit $10");

/// A job and where it is.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Found {
    /// Id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// A live job's state, `dead`, or how it ended.
    #[diesel(sql_type = Text)]
    pub state: String,
}

/// Binds the values of a filter in the order of the macros. Not through `waybill_schema::sql`: each set of filters needs a plan
/// of its own, and a prepared statement would be given one for all of them.
macro_rules! bind {
    ($text:expr, $filter:expr, $after:expr, $limit:expr) => {
        diesel::sql_query($text)
            .bind::<Array<Text>, _>(&$filter.states)
            .bind::<Nullable<Text>, _>($filter.kind.as_deref())
            .bind::<Nullable<Text>, _>($filter.queue.as_deref())
            .bind::<Nullable<SqlUuid>, _>($filter.correlation_id)
            .bind::<Nullable<SqlUuid>, _>($filter.owner_id)
            .bind::<Nullable<Text>, _>($filter.error.as_deref())
            .bind::<Nullable<Timestamptz>, _>($filter.since)
            .bind::<Nullable<Timestamptz>, _>($filter.until)
            .bind::<Nullable<SqlUuid>, _>($after)
            .bind::<BigInt, _>($limit)
    };
}

/// Jobs by id, the newest first, after the one with the id `after`. Live, dead and finished ones are read in the order of
/// their ids, so a page costs what it takes to find its rows, not the size of the history.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    after: Option<Uuid>,
    limit: i64,
) -> QueryResult<Vec<JobRow>> {
    bind!(LIST, filter, after, limit).load(conn).await
}

/// At most `limit` of them, the newest first, after the one with the id `after`, with their states: what a bulk change will touch.
pub async fn find_ids(
    conn: &mut Conn,
    filter: &Filter,
    after: Option<Uuid>,
    limit: i64,
) -> QueryResult<Vec<Found>> {
    bind!(IDS, filter, after, limit).load(conn).await
}
