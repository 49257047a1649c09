//! What was enqueued.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Jsonb, Text};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use waybill_schema::Pool;

use crate::contract::Job;

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
    rows.into_iter().map(|row| serde_json::from_value(row.payload).unwrap()).collect()
}

/// The first live job of a kind that matches; panics if there is none.
pub async fn assert_enqueued<J: Job>(pool: &Pool, matches: impl Fn(&J) -> bool) -> J {
    let jobs = enqueued::<J>(pool).await;
    let seen: Vec<_> = jobs.iter().map(|job| serde_json::to_string(job).unwrap()).collect();
    jobs.into_iter()
        .find(|job| matches(job))
        .unwrap_or_else(|| panic!("no {} matches; enqueued are {seen:?}", J::KIND))
}

#[derive(QueryableByName)]
struct Left {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Jobs that nobody has run, and dead ones: (kind, state, number).
pub async fn leftovers(pool: &Pool) -> Vec<(String, String, i64)> {
    let rows: Vec<Left> = waybill_schema::sql(
        "select kind, state, count(*) as n from jobs group by 1, 2
         union all select kind, 'dead', count(*) from dead_letters group by 1 order by 1, 2",
    )
    .load(&mut pool.get().await.unwrap())
    .await
    .unwrap();
    rows.into_iter().map(|row| (row.kind, row.state, row.n)).collect()
}

/// Panics if jobs were forgotten or died.
pub async fn assert_no_leftovers(pool: &Pool) {
    let left = leftovers(pool).await;
    assert!(left.is_empty(), "jobs are left: {left:?}");
}
