//! What is woken, and what is thrown away.
#![allow(clippy::unwrap_used)]

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use uuid::Uuid;
use waybill_jobs::testing::{enqueued, run_one};
use waybill_jobs::{
    Registry, enqueue,
    kinds::{ExpireCheckouts, Maintain, RemoveOrphanFiles, RunCheckout},
};

use waybill_platform::files::Files;
use waybill_workers::housekeeping::{self, HousekeepingDeps, Stores};

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
    let registry = housekeeping::register(Registry::new(), &Arc::new(kept), Stores::default());
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

fn file_store() -> (tempfile::TempDir, Files) {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("WAYBILL_DATABASE__URL", "postgres://nobody@localhost/none".to_owned()),
        ("WAYBILL_FILES__URL", folder.path().display().to_string()),
    ];
    let config = waybill_platform::Config::from_variables(settings).unwrap();
    let files = waybill_platform::files::store(&config.files).unwrap();
    (folder, files)
}

#[tokio::test]
async fn mails_deliveries_and_imports_go_by_their_age_with_all_that_is_theirs() {
    let (folder, files) = file_store();
    let kept = HousekeepingDeps {
        keep_days: 3,
        keep_mails_days: 10,
        keep_deliveries_days: 2,
        keep_imports_days: 10,
        ..HousekeepingDeps::default()
    };
    let stores = Stores { files: Some(files.clone()), vault: None };
    let registry = housekeeping::register(Registry::new(), &Arc::new(kept), stores);
    let world = World::new().await;
    world
        .db
        .execute(
            "insert into mails (id, dedupe_key, template, recipient, status, created_at)
             select gen_random_uuid(), status || days, 't', 'a@b', status, now() - days * interval '1 day'
             from (values (9), (11), (12)) d(days), (values ('sent'), ('failed'), ('queued')) s(status);
             insert into webhook_endpoints (id, url, event_types, secret) values (gen_random_uuid(), 'https://x', '{}', '');
             insert into webhook_deliveries (id, endpoint_id, event_id, topic, body, status, created_at)
             select gen_random_uuid(), e.id, gen_random_uuid(), 't', '{}', status, now() - days * interval '1 day'
             from webhook_endpoints e, generate_series(1, 2500) n, (values (2.5), (4)) d(days),
                  (values ('delivered'), ('queued')) s(status)
             where n <= 2 or (days = 4 and status = 'delivered');
             insert into webhook_attempts (delivery_id, attempt, duration_ms) select id, 1, 1 from webhook_deliveries;
             insert into imports (id, kind, status, filename, object, size_bytes, job_id, finished_at)
             select gen_random_uuid(), 'products', status, 'f.csv', status || days, 1, gen_random_uuid(),
                    now() - days * interval '1 day'
             from (values (9), (11)) d(days), (values ('completed'), ('failed'), ('running')) s(status);
             insert into import_errors (import_id, row_number, field, value, reason) select id, 1, 'f', 'v', 'r' from imports;
             insert into dead_letters (id, kind, version, queue, priority, attempt, max_attempts, snoozes, claim, run_at,
                 payload, failures, created_at, reason)
             select job_id, 'import.run', 1, 'imports', 0, 1, 1, 0, 1, now(), '{}', '[]', now(), 'x'
             from imports where object = 'failed11'",
        )
        .await;
    for object in ["completed9", "completed11", "failed9", "failed11", "running9", "running11"] {
        files.put_bytes(object, "sku".into()).await.unwrap();
    }
    // What is left of uploads whose process was killed; one may still be on its way.
    for (name, hours) in [("days.csv#1", 48), ("moments.csv#1", 0)] {
        let file = std::fs::File::create(folder.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(hours)).unwrap();
    }
    let job = enqueue(&*world.db.conn().await, &Maintain {}).await.unwrap();
    assert_eq!(run_one(world.pool(), &registry, job).await.outcome, "done");
    let left = async |query: &str| world.number(&format!("select count(*) as number from {query}")).await;
    // Two that were sent or given up nine days ago, three that wait; never those that wait.
    assert_eq!(left("mails").await, 5);
    // As long as events are kept, although two days were asked for.
    assert_eq!(left("webhook_deliveries where status = 'delivered'").await, 2);
    assert_eq!(
        (left("webhook_deliveries where status = 'queued'").await, left("webhook_attempts").await),
        (4, 6)
    );
    // One is over and aged; the other that is has a dead letter, which somebody may retry.
    assert_eq!((left("imports").await, left("import_errors").await), (5, 5));
    assert!(files.size("completed11").await.is_err(), "the file goes with its import");
    for object in ["completed9", "failed9", "failed11", "running9", "running11"] {
        assert!(files.size(object).await.is_ok(), "{object}");
    }
    assert!(!folder.path().join("days.csv#1").exists());
    assert!(folder.path().join("moments.csv#1").exists());
}

#[tokio::test]
async fn files_that_no_import_names_go_when_nobody_can_be_at_them() {
    let (folder, files) = file_store();
    let stores = Stores { files: Some(files.clone()), vault: None };
    let registry = housekeeping::register(Registry::new(), &Arc::default(), stores);
    let world = World::new().await;
    let [known, orphan, fresh] = std::array::from_fn(|_| waybill_schema::new_id());
    world
        .db
        .execute(&format!(
            "insert into imports (id, kind, status, filename, object, size_bytes, job_id)
             values ('{known}', 'products', 'queued', 'f.csv', 'imports/{known}.csv', 1, gen_random_uuid())"
        ))
        .await;
    let stay = [
        (format!("imports/{known}.csv"), 25),
        (format!("imports/{known}/{fresh}/1/0-0"), 25),
        (format!("imports/{fresh}.csv"), 23),
        (format!("imports/{fresh}/{known}/1/0-0"), 23),
        // None of ours.
        ("imports/notes.csv".to_owned(), 25),
        (format!("imports/{orphan}.txt"), 25),
        (format!("{orphan}.csv"), 25),
    ];
    let go = [(format!("imports/{orphan}.csv"), 25), (format!("imports/{orphan}/{known}/1/0-0"), 25)];
    for (key, hours) in stay.iter().chain(&go) {
        files.put_bytes(key, "sku".into()).await.unwrap();
        let file = std::fs::File::options().write(true).open(folder.path().join(key)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(*hours)).unwrap();
    }
    for removed in ["2", "0"] {
        let job = enqueue(&*world.db.conn().await, &RemoveOrphanFiles {}).await.unwrap();
        assert_eq!(run_one(world.pool(), &registry, job).await.outcome, "done");
        let report = format!("select result ->> 'removed' as word from job_history where id = '{job}'");
        assert_eq!(world.word(&report).await.as_deref(), Some(removed));
    }
    for (key, _) in &stay {
        assert!(files.size(key).await.is_ok(), "{key}");
    }
    for (key, _) in &go {
        assert!(files.size(key).await.is_err(), "{key}");
    }
}

#[tokio::test]
async fn secrets_are_sealed_anew_when_the_key_changes() {
    use waybill_platform::{config::SecretsConfig, vault::Vault};

    const OLD: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const NEW: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWc=";
    let vault = |key: &str, old: &str| {
        Vault::new(&SecretsConfig { encryption_key: key.into(), encryption_keys_old: old.into() }).unwrap()
    };
    let world = World::new().await;
    let id = waybill_schema::new_id();
    let sealed = vault(OLD, "").seal(b"whsec", &waybill_schema::webhooks::secret_purpose(id)).unwrap();
    let sealed = hex::encode(sealed);
    let insert = format!(
        "insert into webhook_endpoints (id, url, event_types, secret) values ('{id}', 'https://x', '{{}}', '\\x{sealed}')"
    );
    world.db.execute(&insert).await;
    let stores = Stores { files: None, vault: Some(vault(NEW, OLD)) };
    let registry = housekeeping::register(Registry::new(), &Arc::default(), stores);
    for expected in ["1", "0"] {
        let job = enqueue(&*world.db.conn().await, &Maintain {}).await.unwrap();
        assert_eq!(run_one(world.pool(), &registry, job).await.outcome, "done");
        let report =
            format!("select result ->> 'endpoints_resealed' as word from job_history where id = '{job}'");
        assert_eq!(world.word(&report).await.as_deref(), Some(expected));
    }
    let now = world.word("select encode(secret, 'hex') as word from webhook_endpoints").await.unwrap();
    assert!(now.starts_with("02"), "under a key that is named: {now}");
}
