//! Dead letters: jobs that somebody must decide about.

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{BigInt, Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use crate::{Conn, sql};

/// A dead letter.
#[derive(Debug, Clone, QueryableByName)]
pub struct DeadLetterRow {
    /// The job's id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Its kind.
    #[diesel(sql_type = Text)]
    pub kind: String,
    /// Its queue.
    #[diesel(sql_type = Text)]
    pub queue: String,
    /// Attempts made.
    #[diesel(sql_type = SmallInt)]
    pub attempt: i16,
    /// Attempts it might have had.
    #[diesel(sql_type = SmallInt)]
    pub max_attempts: i16,
    /// Times it was snoozed.
    #[diesel(sql_type = Integer)]
    pub snoozes: i32,
    /// Its arguments.
    #[diesel(sql_type = Jsonb)]
    pub payload: Value,
    /// Attempts and how each failed.
    #[diesel(sql_type = Jsonb)]
    pub failures: Value,
    /// What it last said of itself.
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub progress: Option<Value>,
    /// The order, import, ... it belongs to.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub correlation_id: Option<Uuid>,
    /// Enqueued.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    /// Given up.
    #[diesel(sql_type = Timestamptz)]
    pub died_at: DateTime<Utc>,
    /// Why.
    #[diesel(sql_type = Text)]
    pub reason: String,
}

/// Filters of a list; `None` does not filter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only of this queue.
    pub queue: Option<String>,
    /// Only those whose errors or reason contain this, in any case.
    pub error: Option<String>,
    /// Given up at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Given up before this.
    pub until: Option<DateTime<Utc>>,
    /// Only those after this one in the list: the cursor.
    pub after: Option<(DateTime<Utc>, Uuid)>,
}

macro_rules! columns {
    () => {
        "id, kind, queue, attempt, max_attempts, snoozes, payload, failures, progress, correlation_id, created_at, died_at,
         reason"
    };
}

macro_rules! matching {
    () => {
        " from dead_letters
          where ($1::text is null or kind = $1) and ($2::text is null or queue = $2)
            and ($3::timestamptz is null or (died_at, id) < ($3, $4))
            and ($6::timestamptz is null or died_at >= $6) and ($7::timestamptz is null or died_at < $7)
            and ($5::text is null or position(lower($5) in lower(reason)) > 0
                 or exists (select from jsonb_array_elements(failures) f(entry)
                            where position(lower($5) in lower(f.entry ->> 'error')) > 0))
          order by died_at desc, id desc limit $8"
    };
}

// Planned for its values each time: filters that are none must cost nothing.
macro_rules! bind {
    ($text:expr, $filter:expr, $limit:expr) => {
        diesel::sql_query($text)
            .bind::<Nullable<Text>, _>($filter.kind.as_deref())
            .bind::<Nullable<Text>, _>($filter.queue.as_deref())
            .bind::<Nullable<Timestamptz>, _>($filter.after.map(|(died_at, _)| died_at))
            .bind::<Nullable<SqlUuid>, _>($filter.after.map(|(_, id)| id))
            .bind::<Nullable<Text>, _>($filter.error.as_deref())
            .bind::<Nullable<Timestamptz>, _>($filter.since)
            .bind::<Nullable<Timestamptz>, _>($filter.until)
            .bind::<BigInt, _>($limit)
    };
}

/// Dead letters, the newest first.
pub async fn list(conn: &mut Conn, filter: &Filter, limit: i64) -> QueryResult<Vec<DeadLetterRow>> {
    bind!(concat!("select ", columns!(), matching!()), filter, limit).load(conn).await
}

/// A dead letter's place in the list.
#[derive(Debug, Clone, Copy, QueryableByName)]
pub struct Place {
    /// The job.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Given up.
    #[diesel(sql_type = Timestamptz)]
    pub died_at: DateTime<Utc>,
}

/// At most `limit` of them: what a bulk change will touch.
pub async fn places(conn: &mut Conn, filter: &Filter, limit: i64) -> QueryResult<Vec<Place>> {
    bind!(concat!("select id, died_at", matching!()), filter, limit).load(conn).await
}

/// One dead letter.
pub async fn find(conn: &mut Conn, id: Uuid) -> QueryResult<Option<DeadLetterRow>> {
    sql(concat!("select ", columns!(), " from dead_letters where id = $1"))
        .bind::<SqlUuid, _>(id)
        .get_result(conn)
        .await
        .optional()
}
