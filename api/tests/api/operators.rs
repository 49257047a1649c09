//! Jobs, queues and kinds as operators look for them and change them.

use serde_json::{Value, json};

use crate::support::{App, text};

const JOBS: &str = "/v1/admin/jobs";

/// Puts `count` jobs of a kind and queue into a state, named by `n`; answers their ids, the oldest first.
async fn jobs(app: &App, state: &str, kind: &str, count: i64) -> Vec<String> {
    let table = match state {
        "dead" => "dead_letters",
        "done" | "cancelled" | "discarded" => "job_history",
        _ => "jobs",
    };
    let failures = r#"[{"attempt": 1, "outcome": "failed", "error": "Connection refused by 10.0.0.7",
                       "started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:00:01Z"}]"#;
    let (more, values) = match table {
        "dead_letters" => {
            ("snoozes, claim, failures, reason", format!("0, 3, '{failures}', 'attempts used up'"))
        }
        "job_history" => ("snoozes, claim, failures, state", format!("0, 1, '[]', '{state}'")),
        _ => ("state", format!("'{state}'")),
    };
    let mut ids = Vec::new();
    for _ in 0..count {
        let id = waybill_schema::new_id();
        app.db
            .execute(&format!(
                "insert into {table} (id, kind, version, queue, priority, attempt, max_attempts, run_at, payload,
                     created_at, {more})
                 values ('{id}', '{kind}', 1, split_part('{kind}', '.', 1), 0, 0, 3, now(), '{{}}', now(), {values})"
            ))
            .await;
        ids.push(id.to_string());
    }
    ids
}

fn ids(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|row| text(row, "id")).collect()
}

#[tokio::test]
async fn jobs_are_found_wherever_they_are_and_by_pages() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.db.execute("delete from jobs").await;
    let done = jobs(&app, "done", "mail.send", 3).await;
    let dead = jobs(&app, "dead", "mail.send", 2).await;
    let queued = jobs(&app, "queued", "import.run", 2).await;
    let get = |query: &str| app.get(&format!("{JOBS}{query}")).token(&admin).send();

    let mut newest: Vec<&String> = done.iter().chain(&dead).chain(&queued).collect();
    newest.reverse();
    let mut seen = Vec::new();
    let mut query = "?limit=3".to_owned();
    loop {
        let page = get(&query).await.expect(200);
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("?limit=3&cursor={cursor}");
    }
    assert_eq!(seen.iter().collect::<Vec<_>>(), newest);

    assert_eq!(ids(&get("?state=dead").await.expect(200)), [dead[1].as_str(), dead[0].as_str()]);
    assert_eq!(ids(&get("?state=queued,dead").await.expect(200)).len(), 4);
    assert_eq!(ids(&get("?kind=import.run").await.expect(200)).len(), 2);
    assert_eq!(ids(&get("?queue=mail").await.expect(200)).len(), 5);
    let refused = get("?error=connection%20REFUSED").await.expect(200);
    assert_eq!(ids(&refused).len(), 2);
    assert_eq!(text(&refused["data"][0], "error"), "Connection refused by 10.0.0.7");
    assert_eq!(ids(&get("?error=10%250").await.expect(200)).len(), 0, "no pattern");
    assert_eq!(ids(&get("?since=2099-01-01T00:00:00Z").await.expect(200)).len(), 0);
    assert_eq!(ids(&get("?until=2020-01-01T00:00:00Z").await.expect(200)).len(), 0);
    assert_eq!(get("?state=lost").await.faults(), [("state".to_owned(), "invalid".to_owned())]);

    let shown = get(&format!("/{}", dead[0])).await.expect(200);
    assert_eq!((text(&shown, "state"), &shown["arguments"]), ("dead", &json!({})));
    let (_, jane) = app.customer("jane@example.com").await;
    app.get(JOBS).token(&jane).send().await.problem(403, "forbidden");
    app.get(JOBS).send().await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_job_is_retried_cancelled_or_discarded_as_its_state_allows() {
    let app = App::start().await;
    let admin = app.admin().await;
    let act =
        |id: &str, action: &str| app.post(&format!("{JOBS}/{id}/{action}"), json!({})).token(&admin).send();
    let one = async |state: &str| jobs(&app, state, "mail.send", 1).await.remove(0);
    let state = async |id: &str| {
        let job = app.get(&format!("{JOBS}/{id}")).token(&admin).send().await.expect(200);
        text(&job, "state").to_owned()
    };

    let dead = one("dead").await;
    let again = act(&dead, "retry").await.expect(202);
    assert_eq!((text(&again, "id"), text(&again, "state")), (dead.as_str(), "queued"));
    assert_eq!(again["failures"].as_array().unwrap().len(), 1);
    act(&dead, "retry").await.problem(409, "illegal_move");

    let done = one("done").await;
    let fresh = act(&done, "retry").await.expect(202);
    assert_ne!(text(&fresh, "id"), done);
    assert_eq!(state(&done).await, "done");
    let detail = app.get(&format!("{JOBS}/{}", text(&fresh, "id"))).token(&admin).send().await.expect(200);
    assert_eq!(text(&detail, "causation_id"), done);

    let scheduled = one("scheduled").await;
    app.db.execute("update jobs set run_at = now() + interval '1 hour' where state = 'scheduled'").await;
    assert_eq!(text(&act(&scheduled, "retry").await.expect(202), "state"), "queued");

    let queued = one("queued").await;
    let cancelled = act(&queued, "cancel").await.expect(202);
    assert_eq!(text(&cancelled, "state"), "cancelled");
    act(&queued, "cancel").await.problem(409, "illegal_move");
    act(&queued, "discard").await.problem(409, "illegal_move");

    let waiting = one("queued").await;
    assert_eq!(text(&act(&waiting, "discard").await.expect(202), "state"), "discarded");
    let running = one("queued").await;
    app.db
        .execute(&format!(
            "update jobs set state = 'running', attempt = 1, worker_id = gen_random_uuid(), claimed_at = now()
             where id = '{running}'"
        ))
        .await;
    act(&running, "discard").await.problem(409, "illegal_move");
    act(&running, "retry").await.problem(409, "illegal_move");
    assert_eq!(text(&act(&running, "cancel").await.expect(202), "state"), "running");
    act("01900000-0000-7000-8000-000000000000", "cancel").await.problem(404, "not_found");

    let key = app.key(&["system:read"]).await;
    let path = format!("{JOBS}/{running}/cancel");
    app.post(&path, json!({})).key(&key).send().await.problem(403, "forbidden");
}

#[tokio::test]
async fn many_are_counted_first_and_changed_up_to_a_limit() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.db.execute("delete from jobs").await;
    jobs(&app, "dead", "mail.send", 5).await;
    jobs(&app, "dead", "webhook.deliver", 2).await;
    jobs(&app, "queued", "import.run", 3).await;
    let bulk = |path: &str, body: Value| app.post(path, body).token(&admin).send();
    let dead = "/v1/admin/dead-letters/bulk";

    let body = |dry_run: bool, limit: i64| json!({ "action": "retry", "filter": { "kind": "mail.send", "error": "refused" }, "limit": limit, "dry_run": dry_run });
    let counted = bulk(dead, body(true, 100)).await.expect(200);
    assert_eq!((counted["matched"].as_i64(), counted["changed"].as_i64()), (Some(5), Some(0)));
    let some = bulk(dead, body(false, 3)).await.expect(200);
    assert_eq!((some["changed"].as_i64(), some["more"].as_bool()), (Some(3), Some(true)));
    let rest = bulk(dead, body(false, 3)).await.expect(200);
    assert_eq!((rest["changed"].as_i64(), rest["more"].as_bool()), (Some(2), Some(false)));
    assert_eq!(app.db.count("select count(*) as n from dead_letters").await, 2);
    let all = bulk(dead, json!({ "action": "discard", "filter": {} })).await.expect(200);
    assert_eq!(all["changed"].as_i64(), Some(2));

    let path = "/v1/admin/jobs/bulk";
    let cancel = json!({ "action": "cancel", "filter": { "states": ["queued"], "queue": "import" } });
    assert_eq!(bulk(path, cancel).await.expect(200)["changed"].as_i64(), Some(3));
    let repeat = json!({ "action": "retry", "filter": { "states": ["cancelled"], "kind": "import.run" } });
    assert_eq!(bulk(path, repeat).await.expect(200)["changed"].as_i64(), Some(3));
    assert_eq!(app.db.count("select count(*) as n from jobs where kind = 'import.run'").await, 3);
    bulk(path, json!({ "action": "discard", "filter": { "states": [] } })).await.problem(422, "validation");
    let huge = json!({ "action": "discard", "filter": { "states": ["dead"] }, "limit": 10_001 });
    bulk(path, huge).await.problem(422, "validation");

    // What comes after a count is left alone by a change that ends at its time.
    jobs(&app, "dead", "mail.send", 1).await;
    let since = json!({ "action": "retry", "filter": { "kind": "mail.send", "until": counted["until"] } });
    assert_eq!(bulk(dead, since).await.expect(200)["matched"].as_i64(), Some(0));
}

#[tokio::test]
async fn queues_kinds_and_dependencies_are_held_and_let_go() {
    let app = App::start().await;
    let admin = app.admin().await;
    let system = "/v1/admin/system";
    let post = |path: &str, body: Value| app.post(&format!("{system}{path}"), body).token(&admin).send();
    let put = |path: &str, body: Value| {
        app.call(poem::http::Method::PUT, &format!("{system}{path}")).json(body).token(&admin).send()
    };
    let paused = post("/queues/mail/pause", json!({ "reason": "the mail server moves" })).await.expect(200);
    assert_eq!(
        (paused["paused"].as_bool(), text(&paused, "pause_reason")),
        (Some(true), "the mail server moves")
    );
    assert!(text(&paused, "paused_by").starts_with("admin:"));
    let shown = app.get(&format!("{system}/queues")).token(&admin).send().await.expect(200);
    let mail = shown["queues"].as_array().unwrap().iter().find(|queue| queue["queue"] == "mail").unwrap();
    assert_eq!(mail["paused"].as_bool(), Some(true));
    assert_eq!(post("/queues/mail/resume", json!({})).await.expect(200)["paused"].as_bool(), Some(false));
    post("/queues/mial/pause", json!({})).await.problem(404, "not_found");

    let limits = json!({ "max_running": 5, "rate": { "jobs": 100, "per_seconds": 60 } });
    let limited = put("/queues/webhooks/limits", limits).await.expect(200);
    assert_eq!(limited["limits"]["max_running"].as_i64(), Some(5));
    assert_eq!(limited["limits"]["rate"]["burst"].as_i64(), Some(100));
    assert_eq!(text(&limited, "limits_by"), "operator");
    let free = put("/queues/webhooks/limits", json!({})).await.expect(200);
    assert_eq!((&free["limits"]["max_running"], &free["limits_by"]), (&Value::Null, &Value::Null));
    put("/queues/webhooks/limits", json!({ "max_running": -1 })).await.problem(422, "validation");
    put("/queues/webhooks/limits", json!({ "rate": { "jobs": 1, "per_seconds": 0 } }))
        .await
        .problem(422, "validation");

    let fewer = put("/queues/imports/concurrency", json!({ "places": 1 })).await.expect(200);
    assert_eq!(fewer["concurrency"][0]["places"].as_i64(), Some(1));
    let back = put("/queues/imports/concurrency", json!({ "places": null })).await.expect(200);
    assert_eq!(back["concurrency"], json!([]));

    assert_eq!(post("/kinds/mail.send/pause", json!({})).await.expect(200)["paused"].as_bool(), Some(true));
    assert_eq!(post("/kinds/mail.send/resume", json!({})).await.expect(200)["paused"].as_bool(), Some(false));
    post("/kinds/mail.sent/pause", json!({})).await.problem(404, "not_found");
    let kinds = app.get(&format!("{system}/kinds")).token(&admin).send().await.expect(200);
    assert!(kinds["data"].as_array().unwrap().iter().any(|kind| kind["kind"] == "checkout.run"));

    app.db
        .execute(
            "insert into jobs (id, kind, queue, max_attempts, payload, hold)
             select gen_random_uuid(), 'test.kind', 'test', 3, '{}', 'needs:' || name
             from unnest(array['mail_server', 'mail_server', 'mail_servers']) as d(name)",
        )
        .await;
    let down =
        post("/dependencies/mail_server/down", json!({ "for_seconds": 30, "reason": "maintenance" })).await;
    let down = down.expect(200);
    assert_eq!((down["down"].as_bool(), down["waiting"].as_i64()), (Some(true), Some(2)));
    let listed = app.get(&format!("{system}/dependencies")).token(&admin).send().await.expect(200);
    assert_eq!(text(&listed["data"][1], "reason"), "maintenance");
    assert_eq!(listed["data"][1]["waiting"].as_i64(), Some(2));
    let up = post("/dependencies/mail_server/up", json!({})).await.expect(200);
    assert_eq!(up["down"].as_bool(), Some(false));

    let actions = app.get(&format!("{system}/actions?limit=100")).token(&admin).send().await.expect(200);
    assert_eq!(actions["data"].as_array().unwrap().len(), 10);
    let key = app.key(&["system:read"]).await;
    let path = format!("{system}/queues/mail/pause");
    app.post(&path, json!({})).key(&key).send().await.problem(403, "forbidden");
}

#[tokio::test]
async fn an_owner_follows_and_cancels_an_import() {
    use futures::StreamExt as _;

    let app = App::start().await;
    let (jane_id, jane) = app.customer("jane@example.com").await;
    let (_, john) = app.customer("john@example.com").await;
    app.db.execute("delete from jobs").await;
    let id = jobs(&app, "queued", "import.run", 1).await.remove(0);
    let mail = jobs(&app, "queued", "mail.send", 1).await.remove(0);
    app.db.execute(&format!("update jobs set owner_id = '{jane_id}'")).await;
    let path = format!("/v1/jobs/{id}");
    app.get(&path).token(&john).send().await.problem(404, "not_found");
    app.get(&format!("{path}/events")).token(&john).send().await.problem(404, "not_found");
    app.post(&format!("{path}/cancel"), json!({})).token(&john).send().await.problem(404, "not_found");
    app.post(&format!("/v1/jobs/{mail}/cancel"), json!({}))
        .token(&jane)
        .send()
        .await
        .problem(403, "forbidden");

    let answer = app.get(&format!("{path}/events")).token(&jane).open().await;
    assert_eq!(answer.content_type(), Some("text/event-stream"));
    let mut body = answer.into_body().into_bytes_stream();
    let mut told = String::new();
    let mut next = async |what: &str| {
        while !told.contains(what) {
            let piece = tokio::time::timeout(std::time::Duration::from_secs(20), body.next()).await;
            let Some(piece) = piece.unwrap_or_else(|_| panic!("no {what} in {told}")) else {
                panic!("ended without {what}: {told}")
            };
            told.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
    };
    next("\"state\":\"queued\"").await;
    app.db.execute(&format!("update jobs set progress = '{{\"rows\": 7}}' where id = '{id}'")).await;
    next("\"rows\":7").await;
    let cancelled = app.post(&format!("{path}/cancel"), json!({})).token(&jane).send().await.expect(202);
    assert_eq!(text(&cancelled, "state"), "cancelled");
    next("id: over\nevent: job").await;
    assert!(body.next().await.is_none(), "a stream ends with the job");
    let again = app.get(&format!("{path}/events")).token(&jane).header("last-event-id", "over").send().await;
    assert_eq!(again.status.as_u16(), 204);

    app.db
        .execute(&format!(
            "insert into job_logs (job_id, attempt, level, line) select '{id}', 1, 'info', 'row ' || n from generate_series(1, 3) n"
        ))
        .await;
    let lines = app.get(&format!("{path}/logs?limit=2")).token(&jane).send().await.expect(200);
    assert_eq!(text(&lines["data"][1], "line"), "row 2");
    let cursor = text(&lines, "next_cursor");
    let rest = app.get(&format!("{path}/logs?cursor={cursor}")).token(&jane).send().await.expect(200);
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);
    app.get(&format!("{path}/logs")).token(&john).send().await.problem(404, "not_found");
}
