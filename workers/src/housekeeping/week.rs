//! A week of days, each with its jobs, events and maintenance, and somebody who looks on from the second to the fourth.
//!
//! Not the test's clock moves but the database's: `now()` and `clock_timestamp()` of its sessions are ours.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use diesel::{QueryableByName, sql_types::BigInt};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waybill_jobs::{
    Enqueue, Event as _, EventEnvelope, Job, Outcome, Pipeline, PipelineError, Registry, Unique, emit_all,
    enqueue_all,
    events::ProductUpdated,
    kinds::Maintain,
    postgres::{Ask, claims, complete::complete_done},
    testing::{drain_events, register, run_inline},
    try_enqueue_all,
};
use waybill_schema::{Conn, Pool, db, new_id};

use crate::{registry, testing::TestDatabase};

const DAYS: i64 = 7;
/// Days of the history that are kept.
const KEEP: i64 = 2;
const QUEUE: &str = "week";
const BATCH: usize = 200;
/// Of jobs without a key, of jobs that are unique, and of events.
const BATCHES: usize = 10;
/// Heartbeats of the one worker in a day.
const BEATS: usize = 1_000;
/// Through which everything passes and in which nothing stays.
const LIVE: [&str; 5] = ["jobs", "outbox", "job_uniques", "workers", "job_claims"];

#[derive(Serialize, Deserialize)]
struct Plain;

impl Job for Plain {
    const KIND: &'static str = "test.plain";
    const QUEUE: &'static str = QUEUE;
}

#[derive(Serialize, Deserialize)]
struct Single(Uuid);

impl Job for Single {
    const KIND: &'static str = "test.single";
    const QUEUE: &'static str = QUEUE;

    fn unique(&self) -> Option<Unique> {
        Some(Unique::while_live(self.0.to_string()))
    }
}

struct Sees;

#[async_trait]
impl Pipeline for Sees {
    fn name(&self) -> &'static str {
        "sees"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[ProductUpdated::TOPIC]
    }

    async fn apply(&self, _: &[EventEnvelope], _: &mut Conn) -> Result<(), PipelineError> {
        Ok(())
    }
}

struct Week {
    database: TestDatabase,
    /// Whose sessions have our clock.
    pool: Pool,
    registry: Registry,
    worker: Uuid,
}

impl Week {
    async fn begin() -> Self {
        let database = TestDatabase::new().await;
        // Not as a method: diesel's of the same name would be taken.
        waybill_jobs::testing::TestDatabase::execute(
            &database,
            "create table week_clock (shift interval not null);
             insert into week_clock values ('0');
             create function public.now() returns timestamptz language sql stable as
                 $$ select pg_catalog.now() + (select shift from week_clock) $$;
             create function public.clock_timestamp() returns timestamptz language sql volatile as
                 $$ select pg_catalog.clock_timestamp() + (select shift from week_clock) $$;
             alter table outbox alter column created_at set default public.now();
             alter table jobs alter column created_at set default public.now();
             alter table jobs alter column run_at set default public.now();
             do $$ begin
                 execute format('alter database %I set search_path = public, pg_catalog', current_database());
             end $$;
             -- Whether the server's own vacuum comes by must not matter: ours does at the end of each day.
             alter table jobs set (autovacuum_enabled = false);
             alter table outbox set (autovacuum_enabled = false);
             alter table job_uniques set (autovacuum_enabled = false);
             alter table workers set (autovacuum_enabled = false)",
        )
        .await;
        database.cut_connections().await;
        let pool = db::connect(database.url(), 4, Duration::from_secs(10)).await.unwrap();
        let keep = KEEP.to_string();
        let mut services = database.services(&[("WAYBILL_HOUSEKEEPING__KEEP_DAYS", &keep)]);
        services.pool = pool.clone();
        let registry = registry(&services).unwrap();
        let worker = register(&pool).await;
        Self { database, pool, registry, worker }
    }

    async fn count(&self, query: &str) -> i64 {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = BigInt)]
            n: i64,
        }
        let row: Row =
            diesel::sql_query(query).get_result(&mut self.pool.get().await.unwrap()).await.unwrap();
        row.n
    }

    async fn execute(&self, statements: &str) {
        self.pool.get().await.unwrap().batch_execute(statements).await.unwrap();
    }

    /// Everything of a day, and what is done at its end.
    async fn day(&self, day: i64) {
        self.execute(&format!("update week_clock set shift = interval '{day} days'")).await;
        let mut conn = self.pool.get().await.unwrap();
        // Claims whose jobs have ended: their rows go with the next one, as with a worker.
        let mut over = Vec::new();
        for _ in 0..BATCHES {
            enqueue_all(&conn, (0..BATCH).map(|_| (&Plain, Enqueue::default()))).await.unwrap();
            let singles: Vec<_> = (0..BATCH).map(|_| Single(new_id())).collect();
            try_enqueue_all(&conn, singles.iter().map(|job| (job, Enqueue::default()))).await.unwrap();
            let events: Vec<_> =
                (0..BATCH).map(|_| ProductUpdated { product_id: new_id(), version: 1 }).collect();
            emit_all(&conn, &events, None).await.unwrap();
            for _ in 0..2 {
                let ask = Ask { queue: QUEUE, worker: self.worker, limit: BATCH, after: None, over: &over };
                let claimed = claims(&mut conn, &ask).await.unwrap().jobs;
                over = claimed.iter().map(|job| job.claim_batch).take(1).collect();
                let done: Vec<_> = claimed.iter().map(|job| (job.id, job.claim)).collect();
                assert_eq!(complete_done(&mut conn, &done, &vec![None; BATCH]).await.unwrap().len(), BATCH);
            }
        }
        for _ in 0..BEATS {
            waybill_schema::sql(
                "update workers set heartbeat_at = now(), lease_until = now() + interval '15 s'",
            )
            .execute(&mut conn)
            .await
            .unwrap();
        }
        drop(conn);
        let pipelines: [Arc<dyn Pipeline>; 1] = [Arc::new(Sees)];
        assert_eq!(drain_events(&self.pool, &pipelines).await.len(), BATCHES * BATCH);
        // As each worker's audit does, for what its pipelines have claimed.
        self.execute(
            "delete from job_claims c where not exists (select from jobs j where j.id = any (c.ids))",
        )
        .await;
        let report = run_inline(&self.pool, &self.registry, &Maintain {}).await.unwrap();
        assert!(matches!(report, Outcome::Done(Some(_))), "{report:?}");
        for table in self.live().await {
            self.execute(&format!("vacuum {table}")).await;
        }
    }

    async fn live(&self) -> Vec<&'static str> {
        let mut there = Vec::new();
        for table in LIVE {
            if self.count(&format!("select count(to_regclass('{table}')) as n")).await == 1 {
                there.push(table);
            }
        }
        there
    }

    /// Pages of each live table with its indexes.
    async fn pages(&self) -> BTreeMap<&'static str, i64> {
        let mut pages = BTreeMap::new();
        for table in self.live().await {
            let size = format!("select pg_total_relation_size('{table}') / 8192 as n");
            pages.insert(table, self.count(&size).await);
        }
        pages
    }
}

#[tokio::test]
async fn after_a_week_live_tables_are_no_larger_than_whoever_looked_on_has_made_them_and_old_days_are_gone() {
    let week = Week::begin().await;
    let mut looks = AsyncPgConnection::establish(week.database.url()).await.unwrap();
    let mut pages = Vec::new();
    for day in 1..=DAYS {
        if day == 2 {
            let look = LIVE[..4]
                .iter()
                .map(|table| format!("select count(*) from {table};"))
                .collect::<Vec<_>>()
                .concat();
            looks.batch_execute(&format!("begin isolation level repeatable read; {look}")).await.unwrap();
        }
        week.day(day).await;
        if day == 4 {
            looks.batch_execute("commit").await.unwrap();
        }
        pages.push(week.pages().await);
    }
    println!("pages at the end of each day: {pages:#?}");
    // The first of the days after the look closed, and the last one.
    let (after, last) = (&pages[4], &pages[6]);
    assert!(after.len() >= 4, "{after:?}");
    for (table, pages) in last {
        // But for indexes, whose pages fill less evenly with time.
        assert!(*pages <= after[table] * 5 / 4 + 8, "{table}: {} pages, then {pages}", after[table]);
    }
    assert!(last["jobs"] > pages[0]["jobs"], "the look left no trace, so the test shows nothing");

    for table in ["jobs", "outbox", "job_uniques", "dead_letters"] {
        assert_eq!(week.count(&format!("select count(*) as n from {table}")).await, 0, "{table}");
    }
    for (table, at, of_a_day) in
        [("job_history", "finished_at", 3), ("event_log", "created_at", 1), ("inbox", "event_at", 1)]
    {
        let days = format!("select count(distinct ({at} at time zone 'utc')::date) as n from {table}");
        assert!(week.count(&days).await <= KEEP + 1, "{table} keeps older days");
        let rows = i64::try_from(of_a_day * BATCHES * BATCH).unwrap();
        let kept = week.count(&format!("select count(*) as n from {table}")).await;
        assert!(kept >= KEEP * rows && kept <= (KEEP + 1) * rows, "{table}: {kept}");
        assert_eq!(week.count(&format!("select count(*) as n from only {table}_default")).await, 0);
        let old = format!(
            "select count(*) as n from pg_inherits i join pg_class c on c.oid = i.inhrelid
             where i.inhparent = '{table}'::regclass and c.relname ~ '_[0-9]{{8}}$'
               and to_date(right(c.relname, 8), 'YYYYMMDD') < (now() at time zone 'utc')::date - {KEEP}"
        );
        assert_eq!(week.count(&old).await, 0, "{table} has partitions of days that are not kept");
        let next = format!(
            "select count(to_regclass('{table}_' || to_char(now() at time zone 'utc' + interval '1 day', 'YYYYMMDD'))) as n"
        );
        assert_eq!(week.count(&next).await, 1, "{table} has no partition for tomorrow");
    }
}
