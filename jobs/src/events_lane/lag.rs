//! How far each pipeline is behind.

use diesel::sql_types::{Array, BigInt, Bool, Double, Text};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use waybill_schema::{Conn, sql};

/// Events of the log, jobs and dead letters that are looked at, of each at most. It is asked for every five seconds, and most
/// of all when much is behind: with a million behind the mark it took 15.6 s without a bound and takes 1.8 s with it, on two
/// processors that twice as many others wanted.
const BOUND: i64 = 50_000;

/// What a pipeline has not handled yet of what was handed to it.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct PipelineLag {
    /// The pipeline.
    #[diesel(sql_type = Text)]
    pub pipeline: String,
    /// Events at the broker, in its queue or in a consumer's hands.
    #[diesel(sql_type = BigInt)]
    pub at_broker: i64,
    /// Events that wait as jobs: those of the Postgres lane, parked and replayed ones.
    #[diesel(sql_type = BigInt)]
    pub as_jobs: i64,
    /// Dead letters.
    #[diesel(sql_type = BigInt)]
    pub dead: i64,
    /// Age of the oldest of the first two, in seconds; 0 if there is none.
    #[diesel(sql_type = Double)]
    pub oldest_seconds: f64,
    /// Whether there was too much to look at all of it: there may be more of everything.
    #[diesel(sql_type = Bool)]
    pub at_least: bool,
}

/// The lag of each of `pipelines`, the idle ones included.
///
/// What is at the broker is known here as what was published and has no inbox row: counted from the mark of what is
/// settled on, oldest first and up to a bound, so its cost grows neither with the log nor, beyond that, with the lag. An
/// event that was published within the last moment counts, so a busy system is never quite at zero.
pub async fn lag(conn: &mut Conn, pipelines: &[&str]) -> QueryResult<Vec<PipelineLag>> {
    bounded(conn, pipelines, BOUND).await
}

async fn bounded(conn: &mut Conn, pipelines: &[&str], bound: i64) -> QueryResult<Vec<PipelineLag>> {
    sql("with looked as materialized (
             select e.seq, e.id, e.created_at, e.published_at, e.pipelines
             from event_log e
             where e.lane = 'amqp'
               and e.published_at > (select min(settled_at) from event_shards where lane = 'amqp')
               and e.published_at > (select s.settled_at from event_shards s where s.shard = e.shard and s.lane = 'amqp')
             order by e.published_at limit $2),
         open as materialized (
             select p.name as pipeline, l.published_at as since, event_job_id(p.name, l.seq, l.id) as job_id
             from looked l
             cross join lateral unnest(l.pipelines) as p(name)
             left join lateral (select 1 as one from inbox i
                                where i.pipeline = p.name and i.event_id = l.id and i.event_at = l.created_at
                                limit 1) handled on true
             where handled.one is null),
         flying as materialized (
             select pipeline, since from open
             left join lateral (select 1 as one from jobs j where j.id = open.job_id limit 1) job on true
             left join lateral (select 1 as one from dead_letters d where d.id = open.job_id limit 1) dead on true
             where job.one is null and dead.one is null),
         waiting as materialized (
             select substr(queue, 8) as pipeline, created_at as since from jobs where queue like 'events.%' limit $2),
         buried as materialized (
             select substr(queue, 8) as pipeline from dead_letters where queue like 'events.%' limit $2)
         select t.name as pipeline,
                (select count(*) from flying f where f.pipeline = t.name) as at_broker,
                (select count(*) from waiting w where w.pipeline = t.name) as as_jobs,
                (select count(*) from buried b where b.pipeline = t.name) as dead,
                greatest(0, coalesce(extract(epoch from clock_timestamp() - least(
                    (select min(since) from flying f where f.pipeline = t.name),
                    (select min(since) from waiting w where w.pipeline = t.name))), 0))::float8 as oldest_seconds,
                greatest((select count(*) from looked), (select count(*) from waiting),
                         (select count(*) from buried)) >= $2 as at_least
         from unnest($1) as t(name)
         order by t.name")
    .bind::<Array<Text>, _>(pipelines)
    .bind::<BigInt, _>(bound)
    .load(conn)
    .await
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{BOUND, bounded};
    use crate::testing::TestDatabase;

    async fn plant(db: &TestDatabase, events: i64) {
        db.execute(&format!(
            "update event_shards set lane = 'amqp', settled_at = now() - interval '1 day';
             insert into event_log (seq, id, topic, version, aggregate, aggregate_id, shard, payload, created_at,
                 published_at, lane, pipelines)
             select n, gen_random_uuid(), 't', 1, 'thing', gen_random_uuid(), n % 16, '{{}}', now() - interval '1 hour',
                 now() - interval '1 hour' + n * interval '1 millisecond', 'amqp', '{{a,b}}'
             from generate_series(1, {events}) n;
             insert into inbox (pipeline, event_id, event_at, lane)
             select 'a', id, created_at, 'amqp' from event_log where seq > 1;
             analyze event_log; analyze inbox;"
        ))
        .await;
    }

    #[tokio::test]
    async fn it_looks_at_the_oldest_and_says_when_it_has_not_seen_all() {
        let db = TestDatabase::create().await;
        plant(&db, 200).await;
        let mut conn = db.conn().await;
        let all = bounded(&mut conn, &["a", "b", "c"], BOUND).await.unwrap();
        let seen: Vec<_> = all.iter().map(|lag| (lag.at_broker, lag.at_least)).collect();
        assert_eq!(seen, [(1, false), (200, false), (0, false)]);
        let part = bounded(&mut conn, &["a", "b"], 50).await.unwrap();
        let seen: Vec<_> = part.iter().map(|lag| (lag.at_broker, lag.at_least)).collect();
        assert_eq!(seen, [(1, true), (50, true)]);
        // The oldest is among them.
        for lag in part {
            assert!((3_590.0..3_700.0).contains(&lag.oldest_seconds), "{lag:?}");
        }
    }

    /// As many as it takes for a statement without a bound to take seconds; its plan must not read them all.
    #[tokio::test]
    async fn its_cost_does_not_grow_with_what_is_behind() {
        let db = TestDatabase::create().await;
        plant(&db, 60_000).await;
        let mut conn = db.conn().await;
        let mut took = Vec::new();
        for bound in [500, 60_000] {
            let started = std::time::Instant::now();
            let lag = bounded(&mut conn, &["a", "b"], bound).await.unwrap();
            took.push(started.elapsed());
            assert_eq!(lag[1].at_broker, bound);
        }
        println!("{took:?}");
        assert!(took[0] * 4 < took[1], "{took:?}");
    }
}
