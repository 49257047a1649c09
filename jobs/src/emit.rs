//! Events: facts written to the outbox in the transaction that makes them true.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, Jsonb, Nullable, SmallInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::{Conn, new_id};

use crate::enqueue::EnqueueError;

/// Shards of the outbox; an aggregate's events share one.
pub const SHARDS: i16 = 16;

/// A fact, in the past tense, with a documented payload.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The permanent name, `aggregate.happened`; routing key at the broker, event type in webhooks.
    const TOPIC: &'static str;
    /// What the aggregate is called: events of one aggregate id arrive in order.
    const AGGREGATE: &'static str;
    /// Raised when the payload changes in a way that readers notice.
    const VERSION: i16 = 1;

    /// Whom it happened to.
    fn aggregate_id(&self) -> Uuid;

    /// Whose trail it belongs to.
    fn correlation_id(&self) -> Option<Uuid> {
        None
    }
}

/// An event as it travels: the same on both lanes, to outside consumers and in webhooks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EventEnvelope {
    /// UUIDv7; consumers deduplicate by it.
    pub id: Uuid,
    /// What happened, as `aggregate.happened`.
    pub topic: String,
    /// Of the payload.
    pub version: i16,
    /// What it happened to. Events of one aggregate's id arrive in order.
    pub aggregate: String,
    /// Whom it happened to.
    pub aggregate_id: Uuid,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// Whose trail it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Uuid>,
    /// The job that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Uuid>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The event's own fields.
    pub payload: Value,
}

impl EventEnvelope {
    /// Reads the payload as `E`, if this is an `E`.
    pub fn read<E: Event>(&self) -> Option<Result<E, serde_json::Error>> {
        (self.topic == E::TOPIC).then(|| E::deserialize(&self.payload))
    }
}

/// Emits an event in the transaction open on `conn`; returns its id.
pub async fn emit<E: Event>(
    conn: &Conn,
    event: &E,
    causation_id: Option<Uuid>,
) -> Result<Uuid, EnqueueError> {
    let ids = emit_all(conn, std::slice::from_ref(event), causation_id).await?;
    Ok(ids[0])
}

/// Emits many events of a topic in one statement; returns their ids in order.
pub async fn emit_all<E: Event>(
    conn: &Conn,
    events: &[E],
    causation_id: Option<Uuid>,
) -> Result<Vec<Uuid>, EnqueueError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = events.iter().map(|_| new_id()).collect();
    let aggregates: Vec<Uuid> = events.iter().map(Event::aggregate_id).collect();
    let payloads = events.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
    waybill_schema::sql(
        "insert into outbox (id, topic, version, aggregate, aggregate_id, shard, correlation_id, causation_id, payload,
                             traceparent)
         select id, $2, $3, $4, aggregate_id, shard, correlation_id, $5, payload, $10
         from unnest($1, $6, $7, $8, $9) with ordinality
              as t(id, aggregate_id, shard, correlation_id, payload, place)
         order by place",
    )
    .bind::<Array<SqlUuid>, _>(&ids)
    .bind::<Text, _>(E::TOPIC)
    .bind::<SmallInt, _>(E::VERSION)
    .bind::<Text, _>(E::AGGREGATE)
    .bind::<Nullable<SqlUuid>, _>(causation_id)
    .bind::<Array<SqlUuid>, _>(&aggregates)
    .bind::<Array<SmallInt>, _>(aggregates.iter().map(shard_of).collect::<Vec<_>>())
    .bind::<Array<Nullable<SqlUuid>>, _>(events.iter().map(Event::correlation_id).collect::<Vec<_>>())
    .bind::<Array<Jsonb>, _>(&payloads)
    .bind::<Nullable<Text>, _>(crate::trace::traceparent())
    .execute(&mut &*conn)
    .await?;
    crate::postgres::touched::note(crate::events_lane::OUTBOX_HINT);
    Ok(ids)
}

/// The shard of an aggregate: the low bits of a UUIDv7 are random, so they spread evenly.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
pub fn shard_of(aggregate_id: &Uuid) -> i16 {
    (aggregate_id.as_u128() % SHARDS as u128) as i16
}
