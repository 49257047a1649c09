use serde_json::{Value, json};

use crate::{
    shop::checkout,
    support::{Answer, App, text},
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

/// Puts so many jobs into the history that ended so many seconds ago.
async fn ended(app: &App, queue: &str, jobs: i64, seconds: i64) {
    app.db
        .execute(&format!(
            "insert into job_history (id, kind, version, queue, priority, state, attempt, max_attempts, snoozes, claim,
                 run_at, payload, failures, created_at, finished_at)
             select gen_random_uuid(), 'test.wait', 1, '{queue}', 0, 'done', 1, 3, 0, 1, now(), '{{}}', '[]', now(),
                    now() - interval '{seconds} seconds'
             from generate_series(1, {jobs})"
        ))
        .await;
}

/// How it stands with uploads.
async fn shown(app: &App, admin: &str) -> Value {
    let shown = app.get("/v1/admin/system").token(admin).send().await.expect(200);
    shown["admission"][0].clone()
}

fn after(answer: &Answer) -> u64 {
    answer.header("retry-after").unwrap().parse().unwrap()
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
    assert!((480..=600).contains(&after(&refused)), "nothing drains: the longest, but not for all at once");
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
    ended(&app, "imports", 100, 0).await;
    app.state.load.look().await.unwrap();
    let refused = app.post("/v1/admin/imports", json!({})).token(&admin).send().await;
    assert!((40..=50).contains(&after(&refused)));
    refused.problem(429, "overloaded");
    let shown: Value = app.get("/v1/admin/system").token(&admin).send().await.expect(200);
    let imports = shown["load"].as_array().unwrap().iter().find(|row| row["queue"] == "imports").unwrap();
    assert_eq!((imports["waiting"].as_i64(), imports["drain_per_second"].as_f64()), (Some(500), Some(10.0)));
}

#[tokio::test]
async fn what_ends_seldom_is_measured_over_a_longer_time() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.db.execute("delete from jobs").await;
    // A file takes minutes: three ended in the last ten, none within one.
    backlog(&app, "imports", 2, 400).await;
    ended(&app, "imports", 3, 120).await;
    app.state.load.look().await.unwrap();
    let bulk = shown(&app, &admin).await;
    assert_eq!((text(&bulk, "queue"), bulk["retry_after_seconds"].as_u64()), ("imports", Some(400)));
    // One that ended within the minute says more of how it goes now.
    app.db.execute("update jobs set queue = 'import_parts'").await;
    ended(&app, "import_parts", 30, 30).await;
    app.state.load.look().await.unwrap();
    let bulk = shown(&app, &admin).await;
    assert_eq!((text(&bulk, "queue"), bulk["retry_after_seconds"].as_u64()), ("import_parts", Some(4)));
}

#[tokio::test]
async fn of_several_queues_that_lag_the_longest_wait_counts_and_each_is_measured_at_once() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.db.execute("delete from jobs; delete from outbox").await;
    backlog(&app, "imports", 40, 400).await;
    ended(&app, "imports", 10, 0).await;
    app.state.load.look().await.unwrap();
    assert_eq!(shown(&app, &admin).await["retry_after_seconds"].as_u64(), Some(40));
    // The next look finds another one right behind. It is not much beyond its limit, but it takes longest.
    backlog(&app, "checkout", 200, 6).await;
    ended(&app, "checkout", 20, 0).await;
    app.state.load.look().await.unwrap();
    let bulk = shown(&app, &admin).await;
    assert_eq!((text(&bulk, "queue"), bulk["retry_after_seconds"].as_u64()), ("checkout", Some(100)));
    // The outbox is a queue, too.
    app.db
        .execute(
            "delete from jobs;
             insert into outbox (id, topic, aggregate, aggregate_id, shard, payload, created_at)
             select gen_random_uuid(), 'order.placed', 'order', gen_random_uuid(), 1, '{}', now() - interval '400 seconds'
             from generate_series(1, 60);
             insert into event_log (seq, id, topic, version, aggregate, aggregate_id, shard, payload, created_at, lane)
             select n, gen_random_uuid(), 'order.placed', 1, 'order', gen_random_uuid(), 1, '{}', now(), 'amqp'
             from generate_series(1, 20) n",
        )
        .await;
    app.state.load.look().await.unwrap();
    let bulk = shown(&app, &admin).await;
    assert_eq!((text(&bulk, "queue"), bulk["retry_after_seconds"].as_u64()), ("outbox", Some(30)));
}

#[tokio::test]
async fn a_class_is_admitted_again_well_below_the_limit_at_which_it_was_refused() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.db.execute("delete from jobs").await;
    for (age, bulk) in [(280, true), (320, false), (280, false), (220, false), (200, true), (280, true)] {
        app.db.execute("delete from jobs").await;
        backlog(&app, "imports", 1, age).await;
        app.state.load.look().await.unwrap();
        assert_eq!(admitted(&app, &admin).await[0], bulk, "{age} s, of 300");
    }
}

#[tokio::test]
async fn whoever_was_answered_before_is_answered_again_and_nobody_else() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 10)]).await;
    let admin = app.admin().await;
    let order = |key: &str, quantity: u32| {
        let lines = json!([{ "sku": "A", "quantity": quantity }]);
        let body = checkout(json!({ "lines": lines, "email": "ada@example.com" }));
        app.post("/v1/checkout", body).header("idempotency-key", key).send()
    };
    let upload = |key: &str, content: &str| {
        let body = format!(
            "--x\r\ncontent-disposition: form-data; name=\"kind\"\r\n\r\nstock\r\n\
             --x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\
             content-type: text/csv\r\n\r\n{content}\r\n--x--\r\n"
        );
        app.call(poem::http::Method::POST, "/v1/admin/imports")
            .text("multipart/form-data; boundary=x", &body)
            .token(&admin)
            .header("idempotency-key", key)
            .send()
    };
    let placed = order("first", 1).await.expect(202);
    let imported = upload("first", "sku,on_hand\nA,7\n").await.expect(202);
    app.db.execute("delete from jobs").await;
    backlog(&app, "checkout", 10, 1_000).await;
    app.state.load.look().await.unwrap();
    assert_eq!(admitted(&app, &admin).await, [false, false, false]);

    assert_eq!(order("first", 1).await.expect(202)["id"], placed["id"]);
    order("first", 2).await.problem(422, "idempotency_mismatch");
    let refused = order("second", 1).await;
    assert!(refused.header("retry-after").is_some());
    refused.problem(503, "overloaded");
    assert_eq!(upload("first", "sku,on_hand\nA,7\n").await.expect(202)["id"], imported["id"]);
    upload("first", "sku,on_hand\nA,8\n").await.problem(422, "idempotency_mismatch");
    upload("second", "sku,on_hand\nA,7\n").await.problem(429, "overloaded");
    // A key that the request does not take opens no door.
    let body = json!({ "sku": "A", "on_hand": 5, "reason": "count" });
    let path = "/v1/admin/stock/adjustments";
    app.post(path, body).token(&admin).header("idempotency-key", "x").send().await.problem(429, "overloaded");

    assert_eq!(app.db.count("select count(*) as n from orders").await, 1);
    assert_eq!(app.db.count("select count(*) as n from imports").await, 1);
    // Accepted once the rush is over.
    app.db.execute("delete from jobs").await;
    app.state.load.look().await.unwrap();
    order("second", 1).await.expect(202);
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
