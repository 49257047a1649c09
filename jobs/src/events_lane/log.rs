//! Reading the log of events from a place on.
//!
//! The place is when an event was handed on and its place in the outbox: the order in which the log is written, in which the
//! events of an aggregate have their own. An event's `created_at` would not do: one of three hours ago is handed on now if
//! its transaction took so long, and a reader that is further would never see it.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::sql_types::{Array, BigInt, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::{Conn, sql};

/// Entries of the log that one page looks at. A filter may leave nothing of them: the page is empty then and leads on.
const LOOK: i64 = 10_000;
/// Entries that are younger are not shown yet. Relays write side by side, so of two entries the earlier may become visible
/// later; a reader that passed the one would miss the other. Their statements take milliseconds.
const MARGIN: &str = "10 seconds";

/// A place in the log.
pub type Place = (DateTime<Utc>, i64);

/// Which events.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of these topics; of all if it is empty.
    pub topics: Vec<String>,
    /// About this aggregate.
    pub aggregate_id: Option<Uuid>,
    /// That took this lane, `amqp` or `postgres`.
    pub lane: Option<String>,
    /// Created from this on.
    pub since: Option<DateTime<Utc>>,
}

/// An event of the log.
#[derive(Debug, Clone, QueryableByName)]
pub struct Logged {
    /// Its place in the outbox.
    #[diesel(sql_type = BigInt)]
    pub seq: i64,
    /// When it was handed on.
    #[diesel(sql_type = Timestamptz)]
    pub published_at: DateTime<Utc>,
    /// `amqp` or `postgres`.
    #[diesel(sql_type = Text)]
    pub lane: String,
    /// The pipelines that it was handed to.
    #[diesel(sql_type = Array<Text>)]
    pub pipelines: Vec<String>,
    /// As it travels, see [`crate::EventEnvelope`].
    #[diesel(sql_type = Jsonb)]
    pub envelope: Value,
}

/// A page of the log.
#[derive(Debug, Clone)]
pub struct LogPage {
    /// The events, in the order of the log.
    pub events: Vec<Logged>,
    /// Where the next page starts.
    pub reached: Option<Place>,
    /// Whether there is more already.
    pub more: bool,
}

#[derive(QueryableByName)]
struct Mark {
    #[diesel(sql_type = Timestamptz)]
    published_at: DateTime<Utc>,
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

#[derive(QueryableByName)]
struct Now {
    #[diesel(sql_type = Timestamptz)]
    horizon: DateTime<Utc>,
}

/// The next events after a place, at most `limit`.
pub async fn page(
    conn: &mut Conn,
    filter: &Filter,
    after: Option<Place>,
    limit: i64,
) -> QueryResult<LogPage> {
    stretch(conn, filter, after, limit, LOOK).await
}

async fn stretch(
    conn: &mut Conn,
    filter: &Filter,
    after: Option<Place>,
    limit: i64,
    look: i64,
) -> QueryResult<LogPage> {
    // Nothing is handed on before it is created; the hour is for clocks that step.
    let first = filter.since.map_or(DateTime::UNIX_EPOCH, |since| since - TimeDelta::hours(1));
    let from = after.unwrap_or((first, 0));
    let Now { horizon } =
        sql("select now() - $1::interval as horizon").bind::<Text, _>(MARGIN).get_result(conn).await?;
    // Where this page ends at the latest. Both statements see the same stretch of the log, whatever is written meanwhile.
    let end: Option<Mark> = sql("select published_at, seq from event_log
         where (published_at, seq) > ($1, $2) and published_at < $3
         order by published_at, seq offset $4 limit 1")
    .bind::<Timestamptz, _>(from.0)
    .bind::<BigInt, _>(from.1)
    .bind::<Timestamptz, _>(horizon)
    .bind::<BigInt, _>(look - 1)
    .get_result(conn)
    .await
    .optional()?;
    let last = end.as_ref().map_or((horizon, 0), |end| (end.published_at, end.seq));
    let mut events: Vec<Logged> = sql("select seq, published_at, lane, pipelines,
                event_envelope(id, topic, version, aggregate, aggregate_id, created_at, correlation_id, causation_id,
                    traceparent, payload) as envelope
         from event_log
         where (published_at, seq) > ($1, $2) and (published_at, seq) <= ($3, $4)
           and created_at >= $5
           and (cardinality($6) = 0 or topic = any ($6))
           and ($7 is null or aggregate_id = $7)
           and ($8 is null or lane = $8)
         order by published_at, seq limit $9")
    .bind::<Timestamptz, _>(from.0)
    .bind::<BigInt, _>(from.1)
    .bind::<Timestamptz, _>(last.0)
    .bind::<BigInt, _>(last.1)
    .bind::<Timestamptz, _>(filter.since.unwrap_or(DateTime::UNIX_EPOCH))
    .bind::<Array<Text>, _>(&filter.topics)
    .bind::<Nullable<SqlUuid>, _>(filter.aggregate_id)
    .bind::<Nullable<Text>, _>(filter.lane.as_deref())
    .bind::<BigInt, _>(limit + 1)
    .load(conn)
    .await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let full = events.len() > limit;
    events.truncate(limit);
    let reached = match (full, end) {
        (false, Some(end)) => Some((end.published_at, end.seq)),
        (false, None) if events.is_empty() => after,
        _ => events.last().map(|event| (event.published_at, event.seq)),
    };
    Ok(LogPage { events, reached, more: full || last.0 < horizon })
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Filter, Place, stretch};
    use crate::testing::TestDatabase;

    /// Twenty events, of two topics and lanes in turns, published two at a time; and one of this moment.
    async fn published() -> TestDatabase {
        let db = TestDatabase::create().await;
        db.execute(
            "insert into event_log (seq, id, topic, version, aggregate, aggregate_id, shard, payload, created_at,
                 published_at, lane)
             select 100 - n, gen_random_uuid(), case n % 2 when 0 then 'even' else 'odd' end, 1, 'thing',
                 gen_random_uuid(), 3, jsonb_build_object('n', n), now() - interval '2 hours' + n * interval '1 minute',
                 now() - interval '1 hour' + n / 2 * interval '1 second', case n % 2 when 0 then 'amqp' else 'postgres' end
             from generate_series(0, 19) n;
             insert into event_log (seq, id, topic, version, aggregate, aggregate_id, shard, payload, created_at, lane)
             values (1, gen_random_uuid(), 'even', 1, 'thing', gen_random_uuid(), 3, '{}', now(), 'amqp')",
        )
        .await;
        db
    }

    /// All of the log, page by page; and how many pages it took.
    async fn all(db: &TestDatabase, filter: &Filter, limit: i64, look: i64) -> (Vec<i64>, usize) {
        let mut conn = db.conn().await;
        let (mut seqs, mut after, mut pages) = (Vec::new(), None::<Place>, 0);
        loop {
            let page = stretch(&mut conn, filter, after, limit, look).await.unwrap();
            pages += 1;
            assert!(page.events.len() <= usize::try_from(limit).unwrap());
            seqs.extend(page.events.iter().map(|event| event.seq));
            if !page.more {
                return (seqs, pages);
            }
            assert!(page.reached > after, "it gets on");
            after = page.reached;
        }
    }

    #[tokio::test]
    async fn pages_have_each_event_once_in_the_order_of_the_log() {
        let db = published().await;
        // Of two that were published together the smaller place comes first.
        let expected: Vec<i64> = (0..10).flat_map(|pair| [99 - 2 * pair, 100 - 2 * pair]).collect();
        for limit in [1, 3, 20, 100] {
            assert_eq!(all(&db, &Filter::default(), limit, 1_000).await.0, expected, "{limit} at a time");
        }
        assert_eq!(all(&db, &Filter::default(), 100, 1_000).await.1, 1);
    }

    #[tokio::test]
    async fn a_page_looks_at_so_many_and_leads_on_when_it_is_empty() {
        let db = published().await;
        let none = Filter { topics: vec!["none".to_owned()], ..Filter::default() };
        let (seqs, pages) = all(&db, &none, 10, 4).await;
        assert_eq!((seqs.len(), pages), (0, 6));
        let even =
            Filter { topics: vec!["even".to_owned()], lane: Some("amqp".to_owned()), ..Filter::default() };
        for look in [1, 4, 7, 1_000] {
            let (seqs, _) = all(&db, &even, 3, look).await;
            assert_eq!(seqs, (0..10).map(|pair| 100 - 2 * pair).collect::<Vec<_>>(), "looking at {look}");
        }
        let late =
            Filter { since: Some(chrono::Utc::now() - chrono::TimeDelta::minutes(105)), ..Filter::default() };
        assert!(all(&db, &late, 10, 1_000).await.0.len() < 6);
    }
}
