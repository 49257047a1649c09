//! Partitions made and dropped while everybody works, and after nobody made any for days.
#![allow(clippy::unwrap_used)]

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use tokio::time::timeout;
use waybill_jobs::{
    enqueue,
    kinds::{ExpireCheckouts, Maintain},
};
use waybill_schema::partitions;

use crate::world::World;

async fn complete_one(world: &World) {
    let job = enqueue(&*world.db.conn().await, &ExpireCheckouts {}).await.unwrap();
    assert_eq!(world.run(job).await.outcome, "done");
}

/// Runs the maintenance; its report.
async fn maintain(world: &World) -> serde_json::Value {
    let job = enqueue(&*world.db.conn().await, &Maintain {}).await.unwrap();
    assert_eq!(world.run(job).await.outcome, "done");
    let report = format!("select result::text as word from job_history where id = '{job}'");
    serde_json::from_str(&world.word(&report).await.unwrap()).unwrap()
}

/// (fewest days ahead, tables with strays)
async fn health(world: &World) -> (i32, usize) {
    let health = partitions::health(&mut *world.db.conn().await).await.unwrap();
    assert_eq!(health.len(), partitions::TABLES.len());
    let days = health.iter().map(|table| table.days_ahead).min().unwrap();
    (days, health.iter().filter(|table| table.strays).count())
}

/// Drops the partitions that hold a day from `first` days from now on.
async fn without_partitions(world: &World, first: &str) {
    for table in partitions::TABLES {
        let drop = format!(
            "do $$ declare victim text; begin
                 for victim in select child from waybill_partitions('{table}')
                               where high > waybill_midnight((now() at time zone 'utc')::date + {first}) loop
                     execute format('drop table %I', victim);
                 end loop;
             end $$"
        );
        world.db.execute(&drop).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completions_go_on_while_a_reader_is_in_the_way_of_maintenance() {
    let world = World::new().await;
    without_partitions(&world, "1").await;
    world
        .db
        .execute(
            "create table job_history_20200101 partition of job_history
                 for values from ('2020-01-01 00:00+00') to ('2020-01-02 00:00+00')",
        )
        .await;
    let old = "select count(*) as number from pg_class where relname = 'job_history_20200101'";
    assert_eq!(health(&world).await, (0, 0));

    // A dump that takes its time.
    let mut reader = AsyncPgConnection::establish(world.db.url()).await.unwrap();
    reader.batch_execute("begin; select count(*) from job_history").await.unwrap();
    let over = AtomicBool::new(false);
    let maintaining = async {
        let report = timeout(Duration::from_secs(60), maintain(&world)).await;
        over.store(true, Ordering::Relaxed);
        report.expect("the maintenance waits for the reader")
    };
    let completing = async {
        loop {
            timeout(Duration::from_secs(10), complete_one(&world)).await.expect("a completion waits for it");
            if over.load(Ordering::Relaxed) {
                break;
            }
        }
    };
    let (report, ()) = tokio::join!(maintaining, completing);
    assert!(report["partitions_busy"].as_i64() > Some(0), "{report}");
    assert_eq!(world.number(old).await, 1);
    assert_eq!(health(&world).await.0, 0, "the reader's table has none for tomorrow");
    assert_eq!(world.number("select count(*) as number from job_history_default").await, 0);

    reader.batch_execute("commit").await.unwrap();
    let report = maintain(&world).await;
    assert_eq!(
        (&report["partitions_busy"], &report["job_history_partitions_dropped"]),
        (&0.into(), &1.into())
    );
    assert_eq!(world.number(old).await, 0);
    assert_eq!(health(&world).await, (14, 0));
}

#[tokio::test]
async fn days_without_maintenance_get_their_partition_and_go_with_it() {
    let world = World::new().await;
    // As after ten days of nobody, and with rows that should have gone ten days ago.
    without_partitions(&world, "-100").await;
    let rows = "insert into job_history (id, kind, version, queue, priority, state, attempt, max_attempts, snoozes, claim, run_at,
                    payload, failures, created_at, finished_at)
                select gen_random_uuid(), 'test.old', 1, 'test', 0, 'done', 1, 1, 0, 1, now(), '{}'::jsonb, '[]'::jsonb, now(),
                       now() - days * interval '1 day'
                from generate_series(0, 10) days
                union all
                select gen_random_uuid(), 'test.aged', 1, 'test', 0, 'done', 1, 1, 0, 1, now(), '{}'::jsonb, '[]'::jsonb, now(),
                       now() - interval '40 days'
                from generate_series(1, 20)";
    world.db.execute(rows).await;
    world
        .db
        .execute(
            "insert into inbox (pipeline, event_id, event_at, lane, handled_at)
             select 'p', gen_random_uuid(), now() - days * interval '1 day', 'amqp', now() - late * interval '1 day'
             from (values (0, 0), (5, 5), (40, 40), (40, 0)) as t(days, late)",
        )
        .await;
    assert_eq!(health(&world).await, (0, 2));

    let report = maintain(&world).await;
    assert_eq!(report["job_history_default_removed"], 20, "{report}");
    assert_eq!(report["inbox_default_removed"], 1, "what was handled today is still asked for: {report}");
    assert_eq!(health(&world).await, (14, 0));
    for table in partitions::TABLES {
        assert_eq!(world.number(&format!("select count(*) as number from {table}_default")).await, 0);
    }
    assert_eq!(world.number("select count(*) as number from job_history where kind = 'test.old'").await, 11);
    assert_eq!(world.number("select count(*) as number from inbox").await, 3);
    complete_one(&world).await;
    let last = "select tableoid::regclass::text as word from job_history order by finished_at desc limit 1";
    assert!(world.word(last).await.unwrap().starts_with("job_history_2"), "today has a partition");

    // Once its last day is aged, all of it goes.
    let mut conn = world.db.conn().await;
    let shed = partitions::shed(&mut conn, "job_history", -30).await.unwrap();
    assert!(shed.changed > 1 && shed.busy == 0, "{shed:?}");
    assert_eq!(world.number("select count(*) as number from job_history").await, 0);
}

#[tokio::test]
async fn what_a_process_left_that_died_while_it_settled_a_default_is_taken_away() {
    let world = World::new().await;
    world.db.execute("select waybill_bound_default('job_history', current_date, current_date)").await;
    let left = "select count(*) as number from pg_constraint where conname = 'job_history_default_days'";
    assert_eq!(world.number(left).await, 1);
    maintain(&world).await;
    assert_eq!(world.number(left).await, 0);
}

#[tokio::test]
async fn a_step_that_fails_keeps_no_other_from_its_turn_and_is_named() {
    let world = World::new().await;
    without_partitions(&world, "1").await;
    world
        .db
        .execute(
            "create table job_history_20200101 partition of job_history
                 for values from ('2020-01-01 00:00+00') to ('2020-01-02 00:00+00');
             create table inbox_20200101 partition of inbox
                 for values from ('2020-01-01 00:00+00') to ('2020-01-02 00:00+00');
             -- It cannot be dropped, and neither can a cart expire.
             create view somebodys as select * from job_history_20200101;
             create function refuse() returns trigger language plpgsql as $$ begin raise exception 'out of order'; end $$;
             create trigger refuse before update on carts for each row execute function refuse();
             insert into carts (id, token_hash, currency, expires_at)
             values (gen_random_uuid(), '', 'GBP', now() - interval '1 hour');
             insert into idempotency_keys (scope, key, fingerprint, status, expires_at)
             values ('s', 'k', '', 202, now() - interval '1 hour');
             insert into operator_actions (id, at, actor, action, target, detail)
             values (gen_random_uuid(), now() - interval '2 years', 'a', 'queue.pause', 'mail', '{}')",
        )
        .await;
    let job = enqueue(&*world.db.conn().await, &Maintain {}).await.unwrap();
    let ran = world.run(job).await;
    let error = ran.error.unwrap();
    assert_eq!((ran.outcome, error.split("; ").count()), ("retried", 2), "{error}");
    assert!(error.contains("job_history_partitions_dropped: cannot drop table"), "{error}");
    assert!(error.contains("carts_expired: out of order"), "{error}");
    // What comes before them and behind them in the order of the steps.
    assert_eq!(health(&world).await, (14, 0));
    for gone in ["pg_class where relname = 'inbox_20200101'", "idempotency_keys", "operator_actions"] {
        assert_eq!(world.number(&format!("select count(*) as number from {gone}")).await, 0, "{gone}");
    }

    world.db.execute("drop view somebodys; drop trigger refuse on carts").await;
    assert_eq!(world.run(job).await.outcome, "done");
    for gone in ["pg_class where relname = 'job_history_20200101'", "carts where status = 'open'"] {
        assert_eq!(world.number(&format!("select count(*) as number from {gone}")).await, 0, "{gone}");
    }
}
