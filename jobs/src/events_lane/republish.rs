//! Events of the past to the broker, for consumers that are none of ours.
//!
//! While the relay is on the Postgres lane nothing is published, and a consumer with a queue of its own misses what happens.
//! An operator has those events published later. They keep their ids, by which consumers know a copy, and carry the header
//! `waybill-again`, by which our own pipelines leave them alone.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::sql_types::{Array, BigInt, Nullable, Text, Timestamptz};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use lapin::{Connection, ConnectionProperties, uri::AMQPUri};
use secrecy::{ExposeSecret as _, SecretString};
use waybill_schema::{Conn, sql};

use super::{log::Place, outbox::Outgoing, publish::Publisher};
use crate::kinds::RepublishEvents;

/// Longest wait for a connection, and for a confirm.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to the broker to publish old events on.
pub struct Republisher {
    publisher: Publisher,
    connection: Arc<Connection>,
    exchange: String,
}

/// Events to publish again.
pub struct Again {
    events: Vec<Outgoing>,
    /// Where the last one is in the log; none if there was none left.
    pub last: Option<Place>,
}

impl Again {
    /// How many.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// None was left.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// The next events after a place in the log, at most `limit`, in the order of the log.
pub async fn read(
    conn: &mut Conn,
    wanted: &RepublishEvents,
    after: Option<Place>,
    limit: i64,
) -> QueryResult<Again> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Timestamptz)]
        published_at: DateTime<Utc>,
        #[diesel(embed)]
        event: Outgoing,
    }
    let from = after.unwrap_or((wanted.since - TimeDelta::hours(1), 0));
    let lane = (!wanted.all).then_some("postgres");
    let rows: Vec<Row> = sql("select published_at, seq, id, topic, shard, aggregate, aggregate_id, correlation_id,
                traceparent, created_at, '' as pipelines,
                event_envelope(id, topic, version, aggregate, aggregate_id, created_at, correlation_id, causation_id,
                    traceparent, payload)::text as body
         from event_log
         where (published_at, seq) > ($1, $2) and created_at >= $3 and created_at < $4
           and (cardinality($5) = 0 or topic = any ($5))
           and ($6 is null or lane = $6)
         order by published_at, seq limit $7")
    .bind::<Timestamptz, _>(from.0)
    .bind::<BigInt, _>(from.1)
    .bind::<Timestamptz, _>(wanted.since)
    .bind::<Timestamptz, _>(wanted.until)
    .bind::<Array<Text>, _>(&wanted.topics)
    .bind::<Nullable<Text>, _>(lane)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await?;
    let last = rows.last().map(|row| (row.published_at, row.event.seq));
    Ok(Again { events: rows.into_iter().map(|row| row.event).collect(), last })
}

impl Republisher {
    /// Connects. The exchange must exist: workers declare it.
    pub async fn connect(url: &SecretString, exchange: &str) -> Result<Self, String> {
        // The parser's error may repeat parts of the URL.
        let uri: AMQPUri =
            url.expose_secret().parse().map_err(|_| "the broker's URL cannot be read".to_owned())?;
        let properties = ConnectionProperties::default().with_connection_name("waybill republish".into());
        let open = async {
            let connection = Arc::new(Connection::connect_uri(uri, properties).await?);
            let publisher = Publisher::open(Arc::clone(&connection)).await?.again();
            Ok::<_, lapin::Error>(Self { publisher, connection, exchange: exchange.to_owned() })
        };
        match tokio::time::timeout(PATIENCE, open).await {
            Ok(Ok(republisher)) => Ok(republisher),
            Ok(Err(error)) => Err(format!("the broker: {error}")),
            Err(_) => Err(format!("the broker does not answer within {PATIENCE:?}")),
        }
    }

    /// Publishes them, each confirmed; an error leaves some published, which are published again next time.
    pub async fn publish(&self, again: &Again) -> Result<(), String> {
        let mut left: Vec<&Outgoing> = again.events.iter().collect();
        while !left.is_empty() {
            let published = self.publisher.publish(&self.exchange, left.clone(), PATIENCE).await;
            if let Some(failure) = published.failure {
                return Err(failure);
            }
            if !published.refused.is_empty() {
                return Err("a full queue refuses events".to_owned());
            }
            // The rest of a long batch: see the publisher's own limit.
            left.retain(|event| !published.confirmed.contains(&event.seq));
        }
        Ok(())
    }

    /// Says goodbye to the broker.
    pub async fn close(self) {
        let _ = tokio::time::timeout(PATIENCE, self.connection.close(200, "done".into())).await;
    }
}
