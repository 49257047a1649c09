//! What is woken, and what is thrown away.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use uuid::Uuid;
use waybill_jobs::testing::{enqueued, run_one};
use waybill_jobs::{
    Registry, enqueue,
    kinds::{ExpireCheckouts, Maintain, RunCheckout},
};

use waybill_workers::housekeeping::{self, HousekeepingDeps};

use crate::fake_gateway::{Fault, On};
use crate::world::World;

async fn expire(world: &World) {
    let job = enqueue(&*world.db.conn().await, &ExpireCheckouts {}).await.unwrap();
    assert_eq!(world.run(job).await.outcome, "done");
}

async fn woken(world: &World) -> Vec<Uuid> {
    enqueued::<RunCheckout>(world.pool()).await.into_iter().map(|job| job.order_id).collect()
}

#[tokio::test]
async fn an_order_whose_job_died_gets_another_once() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Authorize, Fault::Down)]);
    world.run(job).await;
    expire(&world).await;
    assert_eq!(woken(&world).await, [order], "a live job is left alone");

    world.db.execute("delete from jobs where kind = 'checkout.run'").await;
    expire(&world).await;
    assert!(woken(&world).await.is_empty(), "the deadline has not passed");

    let passed = "update orders set reserved_until = now() - interval '1 minute', updated_at = now() - interval '2 minutes'";
    world.db.execute(passed).await;
    // Two at a time, as when two schedulers fire.
    futures::join!(expire(&world), expire(&world));
    assert_eq!(woken(&world).await, [order]);
    let job: Uuid = world
        .word("select id::text as word from jobs where kind = 'checkout.run'")
        .await
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(world.run(job).await.outcome, "done");
    assert_eq!(world.seen(order).await.reason_code.as_deref(), Some("reservation_expired"));
    world.assert_settled().await;
}

#[tokio::test]
async fn an_order_that_nobody_ever_took_up_is_taken_up() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (order, _) = world.order(&[(&cup, 1)]).await;
    world.db.execute("delete from jobs").await;
    expire(&world).await;
    assert!(woken(&world).await.is_empty(), "it is young");
    world.db.execute("update orders set updated_at = now() - interval '2 minutes'").await;
    expire(&world).await;
    assert_eq!(woken(&world).await, [order]);
}

#[tokio::test]
async fn an_order_whose_jobs_always_die_waits_for_a_person() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (order, _) = world.order(&[(&cup, 1)]).await;
    world
        .db
        .execute(&format!(
            "delete from jobs;
             update orders set updated_at = now() - interval '2 minutes';
             insert into dead_letters (id, kind, version, queue, priority, attempt, max_attempts, snoozes, claim, run_at,
                 correlation_id, payload, failures, created_at, reason)
             select gen_random_uuid(), 'checkout.run', 1, 'checkout', 0, 12, 12, 0, 12, now(), '{order}', '{{}}', '[]', now(), 'x'
             from generate_series(1, 3)"
        ))
        .await;
    expire(&world).await;
    assert!(woken(&world).await.is_empty());
}

#[tokio::test]
async fn what_is_past_its_time_goes_and_the_rest_stays() {
    let world = World::new().await;
    world
        .db
        .execute(
            "insert into idempotency_keys (scope, key, fingerprint, status, expires_at)
             select 's', i::text, '', 202, now() + case when i <= 2500 then -1 else 1 end * interval '1 hour'
             from generate_series(1, 2510) i;
             insert into carts (id, token_hash, currency, expires_at)
             select gen_random_uuid(), '', 'GBP', now() + case when i <= 3 then -1 else 1 end * interval '1 hour'
             from generate_series(1, 5) i;
             create table event_log_20200101 partition of event_log
                 for values from ('2020-01-01 00:00+00') to ('2020-01-02 00:00+00');",
        )
        .await;
    let job = enqueue(&*world.db.conn().await, &Maintain {}).await.unwrap();
    assert_eq!(world.run(job).await.outcome, "done");
    assert_eq!(world.number("select count(*) as number from idempotency_keys").await, 10);
    assert_eq!(world.number("select count(*) as number from carts where status = 'open'").await, 2);
    assert_eq!(
        world.number("select count(*) as number from pg_class where relname = 'event_log_20200101'").await,
        0
    );
    let result = world.word("select result::text as word from job_history").await.unwrap();
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["idempotency_keys_removed"], 2500);
    assert_eq!(result["event_log_partitions_dropped"], 1);
}

#[tokio::test]
async fn flows_go_with_the_history_of_their_jobs() {
    let kept = HousekeepingDeps { keep_days: 3, ..HousekeepingDeps::default() };
    let world = World::new().await;
    let registry = housekeeping::register(Registry::new(), &Arc::new(kept));
    world
        .db
        .execute(
            "insert into flows (id, kind, name, state, sealed, finished_at)
             select gen_random_uuid(), 'workflow', 'over for ' || days, 'done', true, now() - days * interval '1 day'
             from generate_series(1, 5) days;
             insert into flows (id, kind, name, sealed, created_at)
             values (gen_random_uuid(), 'batch', 'open', false, now() - interval '1 year');
             insert into flow_steps (flow_id, name, place, job) select id, 'step', 0, '{}' from flows where kind = 'workflow'",
        )
        .await;
    let job = enqueue(&*world.db.conn().await, &Maintain {}).await.unwrap();
    assert_eq!(run_one(world.pool(), &registry, job).await.outcome, "done");
    // Those of less than three days, and the one that is not over.
    assert_eq!(world.number("select count(*) as number from flows").await, 3);
    assert_eq!(world.number("select count(*) as number from flow_steps").await, 2);
    assert_eq!(world.number("select count(*) as number from flows where name = 'open'").await, 1);
}
