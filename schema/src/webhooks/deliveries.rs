//! Deliveries: one event to one endpoint, however many attempts that takes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{
        Array, Bool, Bytea, Double, Integer, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid,
    },
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, sql};

crate::text_enum! {
    /// What has become of a delivery.
    pub enum DeliveryStatus {
        /// A job is at it.
        Queued = "queued",
        /// The receiver answered with a 2xx.
        Delivered = "delivered",
        /// Given up; may be resent by hand.
        Failed = "failed",
    }
}

/// An active endpoint, as the fan-out sees it.
#[derive(Debug, Clone, QueryableByName)]
pub struct Subscriber {
    /// The endpoint.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Topics wanted; empty for all.
    #[diesel(sql_type = Array<Text>)]
    pub event_types: Vec<String>,
}

impl Subscriber {
    /// Whether it asked for this topic.
    pub fn wants(&self, topic: &str) -> bool {
        self.event_types.is_empty() || self.event_types.iter().any(|wanted| wanted == topic)
    }
}

/// Every active endpoint.
pub async fn subscribers(conn: &mut Conn) -> QueryResult<Vec<Subscriber>> {
    sql("select id, event_types from webhook_endpoints where active order by id").load(conn).await
}

/// A delivery to be written.
#[derive(Debug, Clone)]
pub struct NewDelivery<'a> {
    /// Its id.
    pub id: Uuid,
    /// To whom.
    pub endpoint_id: Uuid,
    /// The event; what receivers deduplicate by.
    pub event_id: Uuid,
    /// The event's topic.
    pub topic: &'a str,
    /// Whose trail it belongs to.
    pub correlation_id: Option<Uuid>,
    /// The body, signed and sent as it is here.
    pub body: &'a str,
}

/// A delivery that was not there before.
#[derive(Debug, Clone, Copy, QueryableByName)]
pub struct Fresh {
    /// The delivery.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Whom it is for.
    #[diesel(sql_type = SqlUuid)]
    pub endpoint_id: Uuid,
    /// The event.
    #[diesel(sql_type = SqlUuid)]
    pub event_id: Uuid,
    /// Whose trail it belongs to.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub correlation_id: Option<Uuid>,
}

/// Writes deliveries, except to endpoints that are gone and of events that their endpoint already has; returns the new
/// ones, each of which needs a job.
pub async fn insert(conn: &mut Conn, deliveries: &[NewDelivery<'_>]) -> QueryResult<Vec<Fresh>> {
    if deliveries.is_empty() {
        return Ok(Vec::new());
    }
    sql("insert into webhook_deliveries (id, endpoint_id, event_id, topic, correlation_id, body)
         select d.id, d.endpoint_id, d.event_id, d.topic, d.correlation_id, d.body
         from unnest($1, $2, $3, $4, $5, $6) as d(id, endpoint_id, event_id, topic, correlation_id, body)
         join webhook_endpoints e on e.id = d.endpoint_id
         on conflict (endpoint_id, event_id) do nothing
         returning id, endpoint_id, event_id, correlation_id")
    .bind::<Array<SqlUuid>, _>(deliveries.iter().map(|d| d.id).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(deliveries.iter().map(|d| d.endpoint_id).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(deliveries.iter().map(|d| d.event_id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(deliveries.iter().map(|d| d.topic).collect::<Vec<_>>())
    .bind::<Array<Nullable<SqlUuid>>, _>(deliveries.iter().map(|d| d.correlation_id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(deliveries.iter().map(|d| d.body).collect::<Vec<_>>())
    .load(conn)
    .await
}

/// What an attempt needs to know.
#[derive(Debug, Clone, QueryableByName)]
pub struct Due {
    /// Delivery's status.
    #[diesel(sql_type = Text)]
    pub status: DeliveryStatus,
    /// The event.
    #[diesel(sql_type = SqlUuid)]
    pub event_id: Uuid,
    /// The body.
    #[diesel(sql_type = Text)]
    pub body: String,
    /// The endpoint.
    #[diesel(sql_type = SqlUuid)]
    pub endpoint_id: Uuid,
    /// Where to.
    #[diesel(sql_type = Text)]
    pub url: String,
    /// Sealed for [`super::secret_purpose`].
    #[diesel(sql_type = Bytea)]
    pub secret: Vec<u8>,
    /// Whether the endpoint wants anything at all.
    #[diesel(sql_type = Bool)]
    pub active: bool,
}

/// A delivery with its endpoint; none if the endpoint was removed.
pub async fn due(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Due>> {
    sql("select d.status, d.event_id, d.body, d.endpoint_id, e.url, e.secret, e.active
         from webhook_deliveries d join webhook_endpoints e on e.id = d.endpoint_id where d.id = $1")
    .bind::<SqlUuid, _>(id)
    .get_result(conn)
    .await
    .optional()
}

/// What one attempt came to.
#[derive(Debug, Clone)]
pub struct Attempt<'a> {
    /// Where it went. An endpoint that has moved since learns nothing from it.
    pub url: &'a str,
    /// HTTP status; none if there was no answer.
    pub status: Option<i16>,
    /// How long it took, in milliseconds.
    pub duration_ms: i32,
    /// First 1,000 characters of the answer.
    pub body: Option<&'a str>,
    /// Why it did not count as delivered.
    pub error: Option<&'a str>,
    /// What becomes of the delivery.
    pub outcome: DeliveryStatus,
    /// The receiver answered that it is gone for good: nothing more is sent to the endpoint.
    pub endpoint_gone: bool,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// How long every attempt may fail before the endpoint is disabled; zero for ever.
    pub disable_after: Duration,
}

/// What was logged.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Recorded {
    /// The attempt's number, from 1.
    #[diesel(sql_type = Integer)]
    pub attempts: i32,
    /// The endpoint, if this disabled it.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub disabled_id: Option<Uuid>,
    /// Since when it has failed every attempt.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub failing_since: Option<DateTime<Utc>>,
    /// Why it was disabled.
    #[diesel(sql_type = Nullable<Text>)]
    pub disabled_reason: Option<String>,
}

/// Logs an attempt and what it means for the delivery and its endpoint, in one statement; none if the endpoint was removed. A
/// delivery that another attempt has completed stays delivered.
///
/// An endpoint is disabled once every attempt has failed for [`Attempt::disable_after`]. The count begins anew with a success,
/// and after as long a silence: two failures a month apart say nothing of the time between. Its row is written once a minute
/// at most while it fails, and neither written nor locked while it does not.
pub async fn record(
    conn: &mut Conn,
    delivery_id: Uuid,
    attempt: &Attempt<'_>,
) -> QueryResult<Option<Recorded>> {
    sql("with delivery as (
             update webhook_deliveries
             set attempts = attempts + 1,
                 status = case when status = 'delivered' then status else $6 end,
                 finished_at = case when status = 'delivered' then finished_at
                                    when $6 = 'queued' then null else now() end
             where id = $1 returning attempts, endpoint_id),
         health as (
             select e.id, $6 = 'delivered' as well, $7 as gone,
                    e.failing_since is null or $9 > 0 and e.failed_at < $8 - $9 * interval '1 second' as anew,
                    $9 > 0 and e.failing_since <= $8 - $9 * interval '1 second' as long
             from delivery d join webhook_endpoints e on e.id = d.endpoint_id
             where e.active and e.url = $11 and ($6 <> 'delivered' or e.failing_since is not null)
             for no key update of e),
         endpoint as (
             update webhook_endpoints e
             set failing_since = case when h.well then null when h.anew then $8 else e.failing_since end,
                 failed_at = case when h.well then null else $8 end,
                 active = h.well or not (h.gone or h.long and not h.anew),
                 disabled_at = case when not h.well and (h.gone or h.long and not h.anew) then $8 end,
                 disabled_reason = case when h.well then null
                     when h.gone then 'the receiver answered 410: it is gone'
                     when h.long and not h.anew then 'every attempt failed for ' || $10 end,
                 updated_at = case when h.gone or h.long and not h.anew then now() else e.updated_at end
             from health h
             where e.id = h.id
               and case when h.well then e.failing_since is not null
                        else h.gone or h.anew or h.long or e.failed_at < $8 - interval '1 minute' end
             returning e.id, e.active, e.failing_since, e.disabled_reason),
         logged as (
             insert into webhook_attempts (delivery_id, attempt, status, duration_ms, body, error)
             select $1, attempts, $2, $3, $4, $5 from delivery
             returning attempt)
         select l.attempt as attempts, e.id as disabled_id, e.failing_since, e.disabled_reason
         from logged l left join endpoint e on not e.active")
    .bind::<SqlUuid, _>(delivery_id)
    .bind::<Nullable<SmallInt>, _>(attempt.status)
    .bind::<Integer, _>(attempt.duration_ms)
    .bind::<Nullable<Text>, _>(attempt.body)
    .bind::<Nullable<Text>, _>(attempt.error)
    .bind::<Text, _>(attempt.outcome)
    .bind::<Bool, _>(attempt.endpoint_gone)
    .bind::<Timestamptz, _>(attempt.at)
    .bind::<Double, _>(attempt.disable_after.as_secs_f64())
    .bind::<Text, _>(days(attempt.disable_after))
    .bind::<Text, _>(attempt.url)
    .get_result(conn)
    .await
    .optional()
}

/// For people: in days, or in hours below two.
fn days(duration: Duration) -> String {
    let hours = duration.as_secs() / 3_600;
    if hours < 48 { format!("{hours} hours") } else { format!("{} days", hours / 24) }
}

/// Gives a delivery up without an attempt; `false` if it is over already.
pub async fn give_up(conn: &mut Conn, id: Uuid) -> QueryResult<bool> {
    let updated = sql(
        "update webhook_deliveries set status = 'failed', finished_at = now() where id = $1 and status = 'queued'",
    )
    .bind::<SqlUuid, _>(id)
    .execute(conn)
    .await?;
    Ok(updated == 1)
}
