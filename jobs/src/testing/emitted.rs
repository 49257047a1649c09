//! What was emitted.

use diesel::QueryableByName;
use diesel::sql_types::{Jsonb, Text};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use waybill_schema::Pool;

use crate::emit::Event;

#[derive(QueryableByName)]
struct Payload {
    #[diesel(sql_type = Jsonb)]
    payload: Value,
}

/// The events of a topic, handed on or not, the oldest first.
pub async fn emitted<E: Event>(pool: &Pool) -> Vec<E> {
    let rows: Vec<Payload> = waybill_schema::sql(
        "select payload from (select seq, payload from event_log where topic = $1
                              union all select seq, payload from outbox where topic = $1) e order by seq",
    )
    .bind::<Text, _>(E::TOPIC)
    .load(&mut pool.get().await.unwrap())
    .await
    .unwrap();
    rows.into_iter().map(|row| serde_json::from_value(row.payload).unwrap()).collect()
}

/// The first event of a topic that matches; panics if there is none.
pub async fn assert_emitted<E: Event>(pool: &Pool, matches: impl Fn(&E) -> bool) -> E {
    let events = emitted::<E>(pool).await;
    let seen: Vec<_> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    events
        .into_iter()
        .find(|event| matches(event))
        .unwrap_or_else(|| panic!("no {} matches; emitted are {seen:?}", E::TOPIC))
}

/// Panics if an event of a topic matches.
pub async fn refute_emitted<E: Event>(pool: &Pool, matches: impl Fn(&E) -> bool) {
    let events = emitted::<E>(pool).await;
    if let Some(event) = events.iter().find(|event| matches(event)) {
        panic!("{} is emitted: {}", E::TOPIC, serde_json::to_string(event).unwrap());
    }
}
