//! Inbound webhooks of gateways: stored raw, once per event id, and handled by a job.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use crate::{Conn, sql};

/// An event whose signature was checked.
#[derive(Debug, Clone)]
pub struct NewGatewayEvent<'a> {
    /// Which gateway.
    pub gateway: &'a str,
    /// The gateway's id of the event.
    pub event_id: &'a str,
    /// What happened, in the gateway's words.
    pub kind: &'a str,
    /// The body as it came.
    pub payload: &'a Value,
    /// The order it is about, when it says so.
    pub order_id: Option<Uuid>,
}

/// A stored event.
#[derive(Debug, Clone, QueryableByName)]
pub struct GatewayEvent {
    /// What happened, in the gateway's words.
    #[diesel(sql_type = Text)]
    pub kind: String,
    /// The body as it came.
    #[diesel(sql_type = Jsonb)]
    pub payload: Value,
    /// When it came.
    #[diesel(sql_type = Timestamptz)]
    pub received_at: DateTime<Utc>,
    /// When it was handled.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub handled_at: Option<DateTime<Utc>>,
    /// What came of it.
    #[diesel(sql_type = Nullable<Text>)]
    pub outcome: Option<String>,
}

/// Stores an event in the transaction that enqueues its job; false if it came before.
pub async fn insert(conn: &mut Conn, event: &NewGatewayEvent<'_>) -> QueryResult<bool> {
    let inserted = sql("insert into gateway_events (gateway, event_id, kind, payload, correlation_id)
         values ($1, $2, $3, $4, $5) on conflict do nothing")
    .bind::<Text, _>(event.gateway)
    .bind::<Text, _>(event.event_id)
    .bind::<Text, _>(event.kind)
    .bind::<Jsonb, _>(event.payload)
    .bind::<Nullable<SqlUuid>, _>(event.order_id)
    .execute(conn)
    .await?;
    Ok(inserted == 1)
}

/// A stored event.
pub async fn find(conn: &mut Conn, gateway: &str, event_id: &str) -> QueryResult<Option<GatewayEvent>> {
    sql("select kind, payload, received_at, handled_at, outcome from gateway_events
         where gateway = $1 and event_id = $2")
    .bind::<Text, _>(gateway)
    .bind::<Text, _>(event_id)
    .get_result(conn)
    .await
    .optional()
}

/// Records what came of an event, once; and the order it turned out to be about.
pub async fn handled(
    conn: &mut Conn,
    gateway: &str,
    event_id: &str,
    outcome: &str,
    order_id: Option<Uuid>,
) -> QueryResult<bool> {
    let marked = sql(
        "update gateway_events set handled_at = now(), outcome = $3, correlation_id = coalesce(correlation_id, $4)
         where gateway = $1 and event_id = $2 and handled_at is null",
    )
    .bind::<Text, _>(gateway)
    .bind::<Text, _>(event_id)
    .bind::<Text, _>(outcome)
    .bind::<Nullable<SqlUuid>, _>(order_id)
    .execute(conn)
    .await?;
    Ok(marked == 1)
}
