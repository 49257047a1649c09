//! Workers, and the events that wait for them.

use chrono::{DateTime, Utc};
use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, sql};

/// A process that claims jobs.
#[derive(Debug, Clone, QueryableByName)]
pub struct WorkerRow {
    /// Id, new at every start.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Its binary.
    #[diesel(sql_type = Text)]
    pub service: String,
    /// Host.
    #[diesel(sql_type = Text)]
    pub host: String,
    /// Process id there.
    #[diesel(sql_type = Integer)]
    pub pid: i32,
    /// Version.
    #[diesel(sql_type = Text)]
    pub version: String,
    /// Queues it serves.
    #[diesel(sql_type = Array<Text>)]
    pub queues: Vec<String>,
    /// running or draining.
    #[diesel(sql_type = Text)]
    pub state: String,
    /// Whether its lease holds.
    #[diesel(sql_type = Bool)]
    pub alive: bool,
    /// Jobs it holds.
    #[diesel(sql_type = BigInt)]
    pub jobs: i64,
    /// The lane its events come on: amqp or postgres.
    #[diesel(sql_type = Nullable<Text>)]
    pub event_lane: Option<String>,
    /// Why that one.
    #[diesel(sql_type = Nullable<Text>)]
    pub event_lane_reason: Option<String>,
    /// Started.
    #[diesel(sql_type = Timestamptz)]
    pub started_at: DateTime<Utc>,
    /// When it last said that it lives.
    #[diesel(sql_type = Timestamptz)]
    pub heartbeat_at: DateTime<Utc>,
    /// Until when it is believed to live.
    #[diesel(sql_type = Timestamptz)]
    pub lease_until: DateTime<Utc>,
}

#[derive(QueryableByName)]
struct Pending {
    #[diesel(sql_type = BigInt)]
    pending: i64,
}

/// Every worker known, newest first; the dead are known until the reaper has taken their jobs over.
pub async fn list(conn: &mut Conn) -> QueryResult<Vec<WorkerRow>> {
    sql("select w.id, w.service, w.host, w.pid, w.version, w.queues, w.state, w.lease_until > now() as alive,
                coalesce(j.jobs, 0) as jobs, w.event_lane, w.event_lane_reason, w.started_at, w.heartbeat_at,
                w.lease_until
         from workers w
         left join (select worker_id, count(*) as jobs from jobs where state = 'running' group by worker_id) j
              on j.worker_id = w.id
         order by w.started_at desc limit 1000")
    .load(conn)
    .await
}

/// Events not handed on yet.
pub async fn outbox_pending(conn: &mut Conn) -> QueryResult<i64> {
    let row: Pending = sql("select count(*) as pending from outbox").get_result(conn).await?;
    Ok(row.pending)
}
