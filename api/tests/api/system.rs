use serde_json::{Value, json};

use crate::{
    shop::checkout,
    support::{App, text},
};

/// Makes the one live job a dead letter.
async fn die(app: &App) {
    app.db
        .execute(
            r#"with gone as (delete from jobs returning *)
               insert into dead_letters (id, kind, version, queue, priority, attempt, max_attempts, snoozes, claim,
                   run_at, correlation_id, owner_id, payload, failures, created_at, reason)
               select id, kind, version, queue, priority, 12, max_attempts, snoozes, 12, run_at, correlation_id, owner_id,
                   payload, '[{"attempt": 12, "outcome": "failed", "error": "no route to 10.0.0.7",
                               "started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:00:01Z"}]',
                   created_at, 'attempts used up'
               from gone"#,
        )
        .await;
}

#[tokio::test]
async fn a_dead_letter_is_found_retried_and_discarded() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 10)]).await;
    let (_, jane) = app.customer("jane@example.com").await;
    let admin = app.admin().await;
    app.db.execute("delete from jobs").await;
    let body = checkout(json!({ "lines": [{ "sku": "A", "quantity": 1 }] }));
    let order = app.post("/v1/checkout", body).token(&jane).send().await.expect(202);
    die(&app).await;

    let path = "/v1/admin/dead-letters";
    let list = app.get(path).token(&admin).send().await.expect(200);
    let letter = &list["data"][0];
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!((text(letter, "kind"), text(letter, "reason")), ("checkout.run", "attempts used up"));
    assert_eq!(letter["correlation_id"], order["id"]);
    assert_eq!(letter["failures"][0]["error"], "no route to 10.0.0.7");
    for (query, found) in
        [("?kind=checkout.run&queue=checkout", 1), ("?kind=mail.send", 0), ("?queue=mail", 0)]
    {
        let list = app.get(&format!("{path}{query}")).token(&admin).send().await.expect(200);
        assert_eq!(list["data"].as_array().unwrap().len(), found, "{query}");
    }
    let one = format!("{path}/{}", text(letter, "id"));
    assert_eq!(&app.get(&one).token(&admin).send().await.expect(200), letter);

    // Its owner sees how it stands, and no internals.
    let job = format!("/v1/jobs/{}", text(letter, "id"));
    let seen = app.get(&job).token(&jane).send().await.expect(200);
    assert_eq!((text(&seen, "state"), seen["failures"][0]["attempt"].as_i64()), ("dead", Some(12)));
    assert!(!seen.to_string().contains("10.0.0.7"));
    assert_eq!(app.get(&job).token(&admin).send().await.expect(200)["failures"], letter["failures"]);
    app.get(&job).send().await.problem(401, "unauthenticated");

    let key = app.key(&["system:read"]).await;
    app.get(&one).key(&key).send().await.expect(200);
    for action in ["retry", "discard"] {
        let act = format!("{one}/{action}");
        app.post(&act, json!({})).key(&key).send().await.problem(403, "forbidden");
        app.post(&act, json!({})).token(&jane).send().await.problem(403, "forbidden");
        app.post(&act, json!({})).send().await.problem(401, "unauthenticated");
    }
    let retried = app.post(&format!("{one}/retry"), json!({})).token(&admin).send().await.expect(202);
    assert_eq!((text(&retried, "state"), retried["attempt"].as_i64()), ("queued", Some(0)));
    app.get(&one).token(&admin).send().await.problem(404, "not_found");
    app.post(&format!("{one}/retry"), json!({})).token(&admin).send().await.problem(404, "not_found");

    die(&app).await;
    // As long as its order is under way it is retried or left.
    let discard = || app.post(&format!("{one}/discard"), json!({})).token(&admin).send();
    discard().await.problem(409, "illegal_move");
    app.db
        .execute(
            "update orders set status = 'cancelled', step = 'compensated', reason_code = 'test', cancelled_at = now()",
        )
        .await;
    discard().await.expect(204);
    let over = app.get(&job).token(&admin).send().await.expect(200);
    assert_eq!(text(&over, "state"), "discarded");
    assert!(text(&over, "reason").ends_with("was: attempts used up"));
}

#[tokio::test]
async fn queues_workers_and_checks_are_shown_to_those_who_may() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 0)]).await;
    let admin = app.admin().await;
    app.db
        .execute(
            "insert into workers (id, service, host, pid, version, queues, lock_key, lease_until)
             values (gen_random_uuid(), 'waybill-worker', 'h', 7, '1', '{checkout}', 1, now() + interval '1 hour'),
                    (gen_random_uuid(), 'waybill-worker', 'h', 8, '1', '{mail}', 2, now() - interval '1 hour')",
        )
        .await;
    app.guest_order(&[("A", 1)]).await;
    let shown = app.get("/v1/admin/system/queues").token(&admin).send().await.expect(200);
    let queue =
        shown["queues"].as_array().unwrap().iter().find(|queue| queue["queue"] == "checkout").unwrap();
    assert_eq!((queue["queued"].as_i64(), queue["dead"].as_i64()), (Some(1), Some(0)));
    assert!(queue["oldest_seconds"].as_f64().unwrap() >= 0.0);
    assert_eq!(shown["outbox_pending"], 1);
    let alive: Vec<bool> = shown["workers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|worker| worker["alive"].as_bool().unwrap())
        .collect();
    assert_eq!(alive.iter().filter(|alive| **alive).count(), 1);

    let checks = || app.get("/v1/admin/system/checks").token(&admin).send();
    let found = |checks: &Value, name: &str| -> i64 {
        let list = checks["checks"].as_array().unwrap();
        list.iter().find(|check| check["name"] == name).unwrap()["found"].as_i64().unwrap()
    };
    let before = checks().await.expect(200);
    assert_eq!((before["ok"].as_bool(), before["idle"].as_bool()), (Some(true), Some(false)));
    assert_eq!(found(&before, "orders_pending"), 1);
    app.db.execute("update orders set subtotal = 2").await;
    let after = checks().await.expect(200);
    assert_eq!((after["ok"].as_bool(), found(&after, "order_totals")), (Some(false), 1));

    let (_, jane) = app.customer("jane@example.com").await;
    for path in [
        "/v1/admin/system/checks",
        "/v1/admin/system/queues",
        "/v1/admin/dead-letters",
        "/v1/admin/events",
        "/v1/admin/pipelines",
    ] {
        app.get(path).token(&jane).send().await.problem(403, "forbidden");
        app.get(path).send().await.problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn it_can_be_told_that_no_worker_serves_a_queue() {
    let app = App::start().await;
    let admin = app.admin().await;
    let workers = async || {
        let queue = app.get("/v1/admin/system/queues/import_parts").token(&admin).send().await.expect(200);
        let all = app.get("/v1/admin/system/queues").token(&admin).send().await.expect(200);
        let same = all["queues"].as_array().unwrap().iter().find(|one| text(one, "queue") == "import_parts");
        assert_eq!(same, Some(&queue));
        queue["workers"].as_i64().unwrap()
    };
    assert_eq!(workers().await, 0);
    let first = waybill_jobs::testing::serve(app.db.pool(), &["imports", "import_parts"]).await;
    waybill_jobs::testing::serve(app.db.pool(), &["import_parts"]).await;
    waybill_jobs::testing::serve(app.db.pool(), &["imports"]).await;
    assert_eq!(workers().await, 2);
    app.db.execute(&format!("update workers set state = 'draining' where id = '{first}'")).await;
    assert_eq!(workers().await, 1);
    app.db.execute("update workers set lease_until = now() - interval '1 second'").await;
    assert_eq!(workers().await, 0);
}
