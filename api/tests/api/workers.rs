//! Workers and what they run, as operators see and change them.

use serde_json::{Value, json};

use crate::support::{Answer, App, text};

const SYSTEM: &str = "/v1/admin/system";
const WORKER: &str = "00000000-0000-7000-8000-000000000001";
const OTHER: &str = "00000000-0000-7000-8000-000000000002";

async fn app() -> (App, String) {
    let app = App::start().await;
    let admin = app.admin().await;
    app.db
        .execute(&format!(
            r#"delete from jobs;
               insert into workers (id, service, host, pid, version, queues, lock_key, lease_until, places)
               values ('{WORKER}', 'waybill-worker', 'h', 7, '1', '{{mail,events.webhooks}}', 1, now() + interval '1 hour',
                       '[{{"queue": "mail", "configured": 32, "now": 8}}]'),
                      ('{OTHER}', 'waybill-worker', 'h', 8, '1', '{{checkout}}', 2, now() + interval '1 hour', default);
               insert into jobs (id, kind, queue, max_attempts, payload)
               select gen_random_uuid(), 'mail.send', 'mail', 3, '{{}}' from generate_series(1, 3);
               update jobs set state = 'running', worker_id = '{WORKER}', claimed_at = now(), attempt = 1"#
        ))
        .await;
    (app, admin)
}

async fn places(app: &App, admin: &str, queue: &str, body: Value) -> Answer {
    let path = format!("{SYSTEM}/queues/{queue}/concurrency");
    app.call(poem::http::Method::PUT, &path).json(body).token(admin).send().await
}

#[tokio::test]
async fn places_are_set_where_there_are_any_and_shown_with_what_the_worker_says() {
    let (app, admin) = app().await;
    let set = places(&app, &admin, "mail", json!({ "places": 8, "worker_id": WORKER })).await.expect(200);
    assert_eq!(set["concurrency"][0]["worker_id"], WORKER);
    // A worker that there is not, one that does not serve the queue, a queue without places: nothing is kept.
    let nobody = json!({ "places": 8, "worker_id": "00000000-0000-7000-8000-00000000000f" });
    places(&app, &admin, "mail", nobody).await.problem(404, "not_found");
    let other = places(&app, &admin, "mail", json!({ "places": 8, "worker_id": OTHER })).await;
    assert_eq!(other.faults(), [("worker_id".to_owned(), "invalid".to_owned())]);
    let events = places(&app, &admin, "events.webhooks", json!({ "places": 8 })).await;
    assert_eq!(events.faults(), [("queue".to_owned(), "invalid".to_owned())]);
    assert_eq!(app.db.count("select count(*) as n from queue_places").await, 1);

    let shown = app.get(&format!("{SYSTEM}/workers")).token(&admin).send().await.expect(200);
    let worker = shown["data"].as_array().unwrap().iter().find(|worker| worker["id"] == WORKER).unwrap();
    let row = json!({ "queue": "mail", "configured": 32, "now": 8, "running": 3 });
    assert_eq!((&worker["places"], worker["jobs"].as_i64()), (&json!([row]), Some(3)));

    // What was said to it goes with it.
    app.db.execute(&format!("delete from workers where id = '{WORKER}'")).await;
    assert_eq!(app.db.count("select count(*) as n from queue_places").await, 0);
    let gone = json!({ "places": null, "worker_id": WORKER });
    places(&app, &admin, "mail", gone).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_worker_is_quieted_and_is_dry_once_it_says_so_and_holds_nothing() {
    let (app, admin) = app().await;
    let post = |path: &str| app.post(&format!("{SYSTEM}/workers/{path}"), json!({})).token(&admin).send();
    let quiet = post(&format!("{WORKER}/quiet")).await.expect(200);
    assert!(text(&quiet, "quiet_by").starts_with("admin:"));
    assert_eq!(
        (text(&quiet, "state"), quiet["dry"].as_bool()),
        ("running", Some(false)),
        "it has not said so yet"
    );
    app.db.execute(&format!("update workers set state = 'quiet' where id = '{WORKER}'")).await;
    assert_eq!(post(&format!("{WORKER}/quiet")).await.expect(200)["dry"].as_bool(), Some(false), "three run");
    app.db.execute("delete from jobs").await;
    let dry = post(&format!("{WORKER}/quiet")).await.expect(200);
    assert_eq!(
        (dry["dry"].as_bool(), &dry["quiet_at"]),
        (Some(true), &quiet["quiet_at"]),
        "since the first time"
    );
    let resumed = post(&format!("{WORKER}/resume")).await.expect(200);
    assert_eq!((&resumed["quiet_at"], &resumed["quiet_by"]), (&Value::Null, &Value::Null));
    for action in ["quiet", "resume"] {
        post(&format!("00000000-0000-7000-8000-00000000000f/{action}")).await.problem(404, "not_found");
    }
    let actions = app.get(&format!("{SYSTEM}/actions")).token(&admin).send().await.expect(200);
    let actions: Vec<&str> =
        actions["data"].as_array().unwrap().iter().map(|action| text(action, "action")).collect();
    assert_eq!(actions, ["worker.resume", "worker.quiet"]);
    let key = app.key(&["system:read"]).await;
    let path = format!("{SYSTEM}/workers/{WORKER}/quiet");
    app.post(&path, json!({})).key(&key).send().await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_kind_shows_what_runs_of_it_and_when_it_is_dry() {
    let (app, admin) = app().await;
    let get = |kind: &str| app.get(&format!("{SYSTEM}/kinds/{kind}")).token(&admin).send();
    let kind = get("mail.send").await.expect(200);
    assert_eq!((kind["running"].as_i64(), kind["paused"].as_bool()), (Some(3), Some(false)));
    get("mail.sent").await.problem(404, "not_found");
    let pause = format!("{SYSTEM}/kinds/mail.send/pause");
    let paused = app.post(&pause, json!({})).token(&admin).send().await.expect(200);
    assert_eq!((paused["running"].as_i64(), paused["dry"].as_bool()), (Some(3), Some(false)));
    app.db
        .execute("delete from jobs; update kind_controls set paused_at = paused_at - interval '3 seconds'")
        .await;
    let dry = get("mail.send").await.expect(200);
    assert_eq!((dry["running"].as_i64(), dry["dry"].as_bool()), (Some(0), Some(true)));
    let all = app.get(&format!("{SYSTEM}/kinds")).token(&admin).send().await.expect(200);
    assert!(all["data"].as_array().unwrap().contains(&dry));
}

#[tokio::test]
async fn dependencies_are_those_that_something_needs_and_no_others() {
    let (app, admin) = app().await;
    app.db.execute("insert into kind_needs (kind, dependency) values ('test.kind', 'harbour')").await;
    let list = async || {
        let shown = app.get(&format!("{SYSTEM}/dependencies")).token(&admin).send().await.expect(200);
        let rows = shown["data"].as_array().unwrap().clone();
        let row = |row: &Value| (text(row, "name").to_owned(), row["down"].as_bool().unwrap());
        rows.iter().map(row).collect::<Vec<_>>()
    };
    let all = |harbour: bool| {
        [("gateway.sandbox", false), ("harbour", harbour), ("mail_server", false)]
            .map(|(name, down)| (name.to_owned(), down))
    };
    assert_eq!(list().await, all(false));
    let post =
        |path: &str| app.post(&format!("{SYSTEM}/dependencies/{path}"), json!({})).token(&admin).send();
    for typo in ["gateway.sandbx/down", "gateway.sandbx/up", "mailserver/down"] {
        post(typo).await.problem(404, "not_found");
    }
    assert_eq!(list().await, all(false));
    post("harbour/down").await.expect(200);
    assert_eq!(list().await, all(true));
    post("harbour/up").await.expect(200);
    assert_eq!(list().await, all(false));
}

#[tokio::test]
async fn limits_have_bounds_which_everything_that_counts_with_them_can_stand() {
    let (app, admin) = app().await;
    let put = async |body: Value| {
        let path = format!("{SYSTEM}/queues/webhooks/limits");
        app.call(poem::http::Method::PUT, &path).json(body).token(&admin).send().await
    };
    let beyond = json!({ "jobs": 1_000_001, "per_seconds": 604_800.5, "burst": 1_000_001 });
    let none = json!({ "jobs": 0, "per_seconds": 0, "burst": 0 });
    for rate in ["rate", "key_rate"] {
        let fields = ["burst", "jobs", "per_seconds"].map(|field| format!("{rate}.{field}"));
        for body in [&beyond, &none] {
            let faults = put(json!({ rate: body })).await.faults();
            assert_eq!(faults, fields.clone().map(|field| (field, "invalid".to_owned())));
        }
    }
    // The slowest to fill of all buckets.
    let widest = json!({ "jobs": 1, "per_seconds": 604_800, "burst": 1_000_000 });
    let set = put(json!({ "rate": widest, "key_rate": widest })).await.expect(200);
    assert_eq!(set["limits"]["key_rate"]["burst"].as_i64(), Some(1_000_000));
    app.db
        .execute("insert into limit_key_buckets values ('webhooks', 'host', 0, now() - interval '2 hours')")
        .await;
    waybill_jobs::postgres::holds::tidy(&mut *app.db.conn().await).await.unwrap();
    assert_eq!(app.db.count("select count(*) as n from limit_key_buckets").await, 1);
}
