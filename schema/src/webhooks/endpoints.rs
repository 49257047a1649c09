//! Webhook endpoints: who wants to hear of what.

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{Array, BigInt, Bool, Bytea, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;

use crate::{Conn, sql::sql};

/// An endpoint, without its secret.
#[derive(Debug, Clone, QueryableByName)]
pub struct EndpointRow {
    /// Id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Where events are posted.
    #[diesel(sql_type = Text)]
    pub url: String,
    /// For people.
    #[diesel(sql_type = Text)]
    pub description: String,
    /// Topics wanted; empty for all.
    #[diesel(sql_type = Array<Text>)]
    pub event_types: Vec<String>,
    /// Whether events are delivered.
    #[diesel(sql_type = Bool)]
    pub active: bool,
    /// Since when every attempt has failed; none while all is well.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub failing_since: Option<DateTime<Utc>>,
    /// When it was disabled because of that, or because it answered that it is gone.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub disabled_at: Option<DateTime<Utc>>,
    /// Why.
    #[diesel(sql_type = Nullable<Text>)]
    pub disabled_reason: Option<String>,
    /// Registered.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
}

/// A delivery of one event to one endpoint.
#[derive(Debug, Clone, QueryableByName)]
pub struct DeliveryRow {
    /// Id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// The event; `webhook-id`.
    #[diesel(sql_type = SqlUuid)]
    pub event_id: Uuid,
    /// The event's topic.
    #[diesel(sql_type = Text)]
    pub topic: String,
    /// queued, delivered or failed.
    #[diesel(sql_type = Text)]
    pub status: String,
    /// Attempts made.
    #[diesel(sql_type = Integer)]
    pub attempts: i32,
    /// Written.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    /// Delivered or given up.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub finished_at: Option<DateTime<Utc>>,
    /// The newest answer's HTTP status.
    #[diesel(sql_type = Nullable<diesel::sql_types::SmallInt>)]
    pub last_status: Option<i16>,
    /// The newest attempt's error.
    #[diesel(sql_type = Nullable<Text>)]
    pub last_error: Option<String>,
}

macro_rules! columns {
    () => {
        "id, url, description, event_types, active, failing_since, disabled_at, disabled_reason, created_at"
    };
}

/// Registers an endpoint; `sealed_secret` is encrypted already.
pub async fn create(
    conn: &mut Conn,
    id: Uuid,
    url: &str,
    description: &str,
    event_types: &[String],
    sealed_secret: &[u8],
    created_by: Option<Uuid>,
) -> QueryResult<EndpointRow> {
    sql(concat!(
        "insert into webhook_endpoints (id, url, description, event_types, secret, created_by)
         values ($1, $2, $3, $4, $5, $6) returning ",
        columns!()
    ))
    .bind::<SqlUuid, _>(id)
    .bind::<Text, _>(url)
    .bind::<Text, _>(description)
    .bind::<Array<Text>, _>(event_types)
    .bind::<Bytea, _>(sealed_secret)
    .bind::<Nullable<SqlUuid>, _>(created_by)
    .get_result(conn)
    .await
}

/// One endpoint.
pub async fn find(conn: &mut Conn, id: Uuid) -> QueryResult<Option<EndpointRow>> {
    sql(concat!("select ", columns!(), " from webhook_endpoints where id = $1"))
        .bind::<SqlUuid, _>(id)
        .get_result(conn)
        .await
        .optional()
}

/// Endpoints older than `before`, newest first.
pub async fn list(conn: &mut Conn, before: Option<Uuid>, limit: i64) -> QueryResult<Vec<EndpointRow>> {
    sql(concat!(
        "select ",
        columns!(),
        " from webhook_endpoints where $1::uuid is null or id < $1 order by id desc limit $2"
    ))
    .bind::<Nullable<SqlUuid>, _>(before)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// What may be changed; `None` leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Where events are posted.
    pub url: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Topics wanted.
    pub event_types: Option<Vec<String>>,
    /// Whether events are delivered.
    pub active: Option<bool>,
}

/// Changes an endpoint. To activate it is to forget what it was disabled for; at another URL its failures do not count.
pub async fn update(conn: &mut Conn, id: Uuid, change: &Change) -> QueryResult<Option<EndpointRow>> {
    sql(concat!(
        "update webhook_endpoints set url = coalesce($2, url), description = coalesce($3, description),
             event_types = coalesce($4, event_types), active = coalesce($5, active), updated_at = now(),
             failing_since = case when $5 or $2 <> url then null else failing_since end,
             failed_at = case when $5 or $2 <> url then null else failed_at end,
             disabled_at = case when $5 then null else disabled_at end,
             disabled_reason = case when $5 then null else disabled_reason end
         where id = $1 returning ",
        columns!()
    ))
    .bind::<SqlUuid, _>(id)
    .bind::<Nullable<Text>, _>(change.url.as_deref())
    .bind::<Nullable<Text>, _>(change.description.as_deref())
    .bind::<Nullable<Array<Text>>, _>(change.event_types.as_deref())
    .bind::<Nullable<Bool>, _>(change.active)
    .get_result(conn)
    .await
    .optional()
}

/// Removes an endpoint with its log.
pub async fn delete(conn: &mut Conn, id: Uuid) -> QueryResult<bool> {
    conn.transaction(async |conn: &mut Conn| {
        // Deliveries first, as an attempt that is being recorded locks them.
        sql("delete from webhook_deliveries where endpoint_id = $1")
            .bind::<SqlUuid, _>(id)
            .execute(conn)
            .await?;
        let gone =
            sql("delete from webhook_endpoints where id = $1").bind::<SqlUuid, _>(id).execute(conn).await?;
        Ok(gone == 1)
    })
    .await
}

/// An endpoint's deliveries of events before `before`, newest first: in the order of the index that keeps an event from
/// being delivered twice.
pub async fn deliveries(
    conn: &mut Conn,
    endpoint_id: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> QueryResult<Vec<DeliveryRow>> {
    sql("select d.id, d.event_id, d.topic, d.status, d.attempts, d.created_at, d.finished_at,
                a.status as last_status, a.error as last_error
         from webhook_deliveries d
         left join lateral (select status, error from webhook_attempts where delivery_id = d.id
                            order by attempt desc limit 1) a on true
         where d.endpoint_id = $1 and d.event_id < $2 order by d.event_id desc limit $3")
    .bind::<SqlUuid, _>(endpoint_id)
    .bind::<SqlUuid, _>(before.unwrap_or(Uuid::max()))
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// A delivery that is to be made again.
#[derive(Debug, Clone, Copy, QueryableByName)]
pub struct Requeued {
    /// Whom it is for.
    #[diesel(sql_type = SqlUuid)]
    pub endpoint_id: Uuid,
    /// Whose trail it belongs to.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub correlation_id: Option<Uuid>,
    /// The person it is about, if it is about an order: its customer, or for a guest the order itself.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub subject_id: Option<Uuid>,
}

/// Puts a finished delivery back to `queued`, so that a job may deliver it again; none if it is queued or unknown.
pub async fn requeue(conn: &mut Conn, delivery_id: Uuid) -> QueryResult<Option<Requeued>> {
    sql("update webhook_deliveries d set status = 'queued', finished_at = null
         where id = $1 and status <> 'queued'
         returning endpoint_id, correlation_id,
             (select coalesce(o.customer_id, o.id) from orders o where o.id = d.correlation_id) as subject_id")
    .bind::<SqlUuid, _>(delivery_id)
    .get_result(conn)
    .await
    .optional()
}
