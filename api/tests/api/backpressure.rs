use serde_json::{Value, json};

use crate::{
    shop::checkout,
    support::{App, text},
};

/// Puts so many jobs into a queue that have been due for so many seconds.
async fn backlog(app: &App, queue: &str, jobs: i64, seconds: i64) {
    app.db
        .execute(&format!(
            "insert into jobs (id, kind, queue, max_attempts, payload, run_at)
             select gen_random_uuid(), 'test.wait', '{queue}', 3, '{{}}', now() - interval '{seconds} seconds'
             from generate_series(1, {jobs})"
        ))
        .await;
}

async fn admitted(app: &App, admin: &str) -> Vec<bool> {
    let shown = app.get("/v1/admin/system").token(admin).send().await.expect(200);
    shown["admission"].as_array().unwrap().iter().map(|class| class["admitted"].as_bool().unwrap()).collect()
}

#[tokio::test]
async fn imports_are_refused_long_before_orders() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 10)]).await;
    let admin = app.admin().await;
    app.db.execute("delete from jobs; delete from outbox").await;
    app.state.load.look().await.unwrap();
    assert_eq!(admitted(&app, &admin).await, [true, true, true]);

    let upload = || app.post("/v1/admin/imports", json!({})).token(&admin).send();
    let write = || {
        let path = "/v1/admin/stock/adjustments";
        app.post(path, json!({ "sku": "A", "on_hand": 5, "reason": "count" })).token(&admin).send()
    };
    let order = || {
        app.post(
            "/v1/checkout",
            checkout(json!({ "lines": [{ "sku": "A", "quantity": 1 }], "email": "ada@example.com" })),
        )
        .send()
    };

    // Ten seconds behind: a buyer waits, so files wait longer.
    backlog(&app, "checkout", 100, 10).await;
    app.state.load.look().await.unwrap();
    assert_eq!(admitted(&app, &admin).await, [false, true, true]);
    let refused = upload().await;
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(after, 600, "nothing drains: the longest");
    let refused = refused.problem(429, "overloaded");
    assert_eq!(text(&refused, "queue"), "checkout");
    assert!(refused["oldest_seconds"].as_u64().unwrap() >= 10);
    write().await.expect(201);
    order().await.expect(202);

    app.db.execute("update jobs set run_at = now() - interval '1 minute' where queue = 'checkout'").await;
    app.state.load.look().await.unwrap();
    assert_eq!(admitted(&app, &admin).await, [false, false, true]);
    write().await.problem(429, "overloaded");
    order().await.expect(202);

    app.db.execute("update jobs set run_at = now() - interval '10 minutes' where queue = 'checkout'").await;
    app.state.load.look().await.unwrap();
    let refused = order().await;
    assert!(refused.header("retry-after").is_some());
    refused.problem(503, "overloaded");
    // Reading, and mending it, go on.
    app.get("/v1/admin/jobs").token(&admin).send().await.expect(200);
    let discard = json!({ "action": "discard", "filter": { "states": ["queued"], "queue": "checkout" } });
    app.post("/v1/admin/jobs/bulk", discard).token(&admin).send().await.expect(200);
    app.db.execute("delete from jobs; delete from outbox").await;
    app.state.load.look().await.unwrap();
    assert_eq!(admitted(&app, &admin).await, [true, true, true]);
    order().await.expect(202);
}

#[tokio::test]
async fn retry_after_is_what_waits_divided_by_how_fast_it_goes() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.db.execute("delete from jobs").await;
    backlog(&app, "imports", 500, 400).await;
    // 100 ended in the last ten seconds: ten a second.
    app.db
        .execute(
            "insert into job_history (id, kind, version, queue, priority, state, attempt, max_attempts, snoozes, claim,
                 run_at, payload, failures, created_at, finished_at)
             select gen_random_uuid(), 'test.wait', 1, 'imports', 0, 'done', 1, 3, 0, 1, now(), '{}', '[]', now(), now()
             from generate_series(1, 100)",
        )
        .await;
    app.state.load.look().await.unwrap();
    let refused = app.post("/v1/admin/imports", json!({})).token(&admin).send().await;
    assert_eq!(refused.header("retry-after"), Some("50"));
    refused.problem(429, "overloaded");
    let shown: Value = app.get("/v1/admin/system").token(&admin).send().await.expect(200);
    let imports = shown["load"].as_array().unwrap().iter().find(|row| row["queue"] == "imports").unwrap();
    assert_eq!((imports["waiting"].as_i64(), imports["drain_per_second"].as_f64()), (Some(500), Some(10.0)));
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let app = App::with(&[("WAYBILL_BACKPRESSURE__ENABLED", "false")]).await;
    app.goods(&[("A", "1.00", 10)]).await;
    backlog(&app, "checkout", 1, 100_000).await;
    app.state.load.look().await.unwrap();
    let body = checkout(json!({ "lines": [{ "sku": "A", "quantity": 1 }], "email": "ada@example.com" }));
    app.post("/v1/checkout", body).send().await.expect(202);
}
