//! What was enqueued.

use chrono::{DateTime, Utc};
use diesel::QueryableByName;
use diesel::sql_types::{Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::Pool;

use crate::{contract::Job, seal};

#[derive(QueryableByName)]
struct Payload {
    #[diesel(sql_type = Jsonb)]
    payload: Value,
}

/// The live jobs of a kind, the oldest first.
pub async fn enqueued<J: Job>(pool: &Pool) -> Vec<J> {
    let rows: Vec<Payload> = waybill_schema::sql("select payload from jobs where kind = $1 order by id")
        .bind::<Text, _>(J::KIND)
        .load(&mut pool.get().await.unwrap())
        .await
        .unwrap();
    rows.into_iter().map(|row| seal::read(row.payload).unwrap()).collect()
}

/// A live job with how it was enqueued.
#[derive(Debug)]
pub struct Put<J> {
    /// Its arguments.
    pub job: J,
    /// Its id.
    pub id: Uuid,
    /// `scheduled`, `queued` or `running`.
    pub state: String,
    /// Its queue.
    pub queue: String,
    /// Smaller runs first.
    pub priority: i16,
    /// Not before this.
    pub run_at: DateTime<Utc>,
    /// The user who may read it.
    pub owner_id: Option<Uuid>,
    /// Whose trail it belongs to.
    pub correlation_id: Option<Uuid>,
    /// The batch or workflow it is part of.
    pub flow_id: Option<Uuid>,
    /// Its name there.
    pub step: Option<String>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Text)]
    queue: String,
    #[diesel(sql_type = SmallInt)]
    priority: i16,
    #[diesel(sql_type = Timestamptz)]
    run_at: DateTime<Utc>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    owner_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    correlation_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    flow_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Text>)]
    step: Option<String>,
    #[diesel(sql_type = Jsonb)]
    payload: Value,
}

/// [`enqueued`], with how each was enqueued.
pub async fn enqueued_as<J: Job>(pool: &Pool) -> Vec<Put<J>> {
    let rows: Vec<Row> = waybill_schema::sql(
        "select id, state, queue, priority, run_at, owner_id, correlation_id, flow_id, step, payload
         from jobs where kind = $1 order by id",
    )
    .bind::<Text, _>(J::KIND)
    .load(&mut pool.get().await.unwrap())
    .await
    .unwrap();
    rows.into_iter()
        .map(|row| Put {
            job: seal::read(row.payload).unwrap(),
            id: row.id,
            state: row.state,
            queue: row.queue,
            priority: row.priority,
            run_at: row.run_at,
            owner_id: row.owner_id,
            correlation_id: row.correlation_id,
            flow_id: row.flow_id,
            step: row.step,
        })
        .collect()
}

/// Panics if a live job of a kind matches.
pub async fn refute_enqueued<J: Job>(pool: &Pool, matches: impl Fn(&J) -> bool) {
    let jobs = enqueued::<J>(pool).await;
    if let Some(job) = jobs.iter().find(|job| matches(job)) {
        panic!("{} is enqueued: {}", J::KIND, serde_json::to_string(job).unwrap());
    }
}

/// The first live job of a kind that matches; panics if there is none.
pub async fn assert_enqueued<J: Job>(pool: &Pool, matches: impl Fn(&J) -> bool) -> J {
    let jobs = enqueued::<J>(pool).await;
    let seen: Vec<_> = jobs.iter().map(|job| serde_json::to_string(job).unwrap()).collect();
    jobs.into_iter()
        .find(|job| matches(job))
        .unwrap_or_else(|| panic!("no {} matches; enqueued are {seen:?}", J::KIND))
}
