use serde_json::{Value, json};

use crate::support::{App, text};

const PATH: &str = "/v1/admin/schedules";

fn nightly() -> Value {
    json!({ "spec": "30 1 * * *", "time_zone": "Europe/London", "kind": "housekeeping.maintain" })
}

async fn put(app: &App, token: &str, name: &str, body: Value) -> crate::support::Answer {
    app.call(poem::http::Method::PUT, &format!("{PATH}/{name}")).json(body).token(token).send().await
}

#[tokio::test]
async fn a_schedule_is_made_shown_replaced_and_removed() {
    let app = App::start().await;
    let admin = app.admin().await;
    let made = put(&app, &admin, "nightly", nightly()).await;
    assert_eq!(made.header("location"), Some("/v1/admin/schedules/nightly"));
    let made = made.expect(201);
    assert_eq!((text(&made, "origin"), text(&made, "queue")), ("api", "housekeeping"));
    assert_eq!((text(&made, "missed"), text(&made, "overlap")), ("once", "skip"));

    let one = format!("{PATH}/nightly");
    let shown = app.get(&one).token(&admin).send().await.expect(200);
    let next = shown["next_runs"].as_array().unwrap();
    assert_eq!(next.len(), 5);
    assert_eq!(next[0], made["next_at"]);
    assert_eq!(shown["runs"], json!([]));

    let often =
        json!({ "spec": "every 10m", "kind": "housekeeping.maintain", "missed": "all", "missed_limit": 5 });
    let replaced = put(&app, &admin, "nightly", often).await.expect(200);
    assert_eq!((text(&replaced, "spec"), text(&replaced, "missed")), ("every 10m", "all"));
    assert_eq!(text(&replaced, "time_zone"), "UTC");
    let list = app.get(PATH).token(&admin).send().await.expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);

    app.delete(&one).token(&admin).send().await.expect(204);
    app.get(&one).token(&admin).send().await.problem(404, "not_found");
    app.delete(&one).token(&admin).send().await.problem(404, "not_found");
    let actions = app.get("/v1/admin/system/actions").token(&admin).send().await.expect(200);
    let done: Vec<_> = actions["data"].as_array().unwrap().iter().map(|row| text(row, "action")).collect();
    assert_eq!(done, ["schedule.delete", "schedule.replace", "schedule.create"]);
    assert!(text(&actions["data"][0], "actor").starts_with("admin:"));
}

#[tokio::test]
async fn what_cannot_be_scheduled_is_refused_with_every_reason() {
    let app = App::start().await;
    let admin = app.admin().await;
    let faults = |name: &'static str, body: Value| {
        let (app, admin) = (&app, &admin);
        async move {
            let faults = put(app, admin, name, body).await.faults();
            faults.into_iter().map(|(field, _)| field).collect::<Vec<_>>()
        }
    };
    let wrong = json!({ "spec": "every 5 parsecs", "kind": "mail.sent" });
    assert_eq!(faults("x", wrong).await, ["kind", "spec"]);
    let past = json!({ "spec": "at 2020-01-01T00:00:00Z", "kind": "housekeeping.maintain" });
    assert_eq!(faults("x", past).await, ["spec"]);
    let zone = json!({ "spec": "0 0 * * *", "time_zone": "Mars/Olympus", "kind": "housekeeping.maintain" });
    assert_eq!(faults("x", zone).await, ["time_zone"]);
    let lacking = json!({ "spec": "every 1h", "kind": "mail.send" });
    assert_eq!(faults("x", lacking).await, ["arguments"]);
    let unknown = json!({ "spec": "every 1h", "kind": "housekeeping.maintain", "arguments": { "days": 1 } });
    assert_eq!(faults("x", unknown).await, ["arguments"]);
    assert_eq!(faults("Nightly", nightly()).await, ["name"]);
    let missed = json!({ "spec": "every 1h", "kind": "housekeeping.maintain", "missed": "some" });
    assert_eq!(faults("x", missed).await, ["missed"]);
    let boundless = json!({ "spec": "every 1h", "kind": "housekeeping.maintain", "missed": "all" });
    assert_eq!(faults("x", boundless).await, ["missed_limit"]);
    assert_eq!(app.db.count("select count(*) as n from schedules").await, 0);
}

#[tokio::test]
async fn a_schedule_rests_wakes_and_runs_at_once() {
    let app = App::start().await;
    let admin = app.admin().await;
    put(&app, &admin, "nightly", nightly()).await.expect(201);
    let call = |action: &str| app.post(&format!("{PATH}/nightly/{action}"), json!({})).token(&admin).send();

    let resting = call("pause").await.expect(200);
    assert_eq!((resting["paused"].as_bool(), &resting["next_at"]), (Some(true), &Value::Null));
    let shown = app.get(&format!("{PATH}/nightly")).token(&admin).send().await.expect(200);
    assert_eq!(shown["next_runs"], json!([]));

    // Also while it rests; but not twice at a time, unless asked.
    let job = call("run").await.expect(202);
    assert_eq!((text(&job, "kind"), text(&job, "state")), ("housekeeping.maintain", "queued"));
    let refused = call("run").await.problem(409, "conflict");
    assert_eq!(refused["job_id"], job["id"]);
    let second = call("run?force=true").await.expect(202);
    assert_ne!(second["id"], job["id"]);
    let shown = app.get(&format!("{PATH}/nightly")).token(&admin).send().await.expect(200);
    assert_eq!((&shown["runs"][0]["job_id"], &shown["runs"][1]["job_id"]), (&second["id"], &job["id"]));
    assert_eq!(
        (shown["runs"][0]["manual"].as_bool(), text(&shown["runs"][0], "state")),
        (Some(true), "queued")
    );

    // Times that passed while it rested are not made up for.
    app.db.execute("update schedules set next_at = now() - interval '3 days'").await;
    let awake = call("resume").await.expect(200);
    let next: chrono::DateTime<chrono::Utc> = text(&awake, "next_at").parse().unwrap();
    assert!(next > chrono::Utc::now());

    app.db.execute("update schedules set origin = 'code'").await;
    put(&app, &admin, "nightly", nightly()).await.problem(409, "conflict");
    app.delete(&format!("{PATH}/nightly")).token(&admin).send().await.problem(409, "conflict");
    call("pause").await.expect(200);
}

#[tokio::test]
async fn a_replacement_wakes_what_rests_only_if_it_says_so() {
    let app = App::start().await;
    let admin = app.admin().await;
    put(&app, &admin, "nightly", nightly()).await.expect(201);
    app.post(&format!("{PATH}/nightly/pause"), json!({})).token(&admin).send().await.expect(200);
    let replaced = put(&app, &admin, "nightly", nightly()).await.expect(200);
    assert_eq!(replaced["paused"], true);
    let mut awake = nightly();
    awake["paused"] = json!(false);
    assert_eq!(put(&app, &admin, "nightly", awake).await.expect(200)["paused"], false);
    // What the scheduler put to rest is tried anew.
    app.db.execute("update schedules set paused = true, problem = 'no such kind'").await;
    let replaced = put(&app, &admin, "nightly", nightly()).await.expect(200);
    assert_eq!((&replaced["paused"], &replaced["problem"]), (&json!(false), &Value::Null));
}

#[tokio::test]
async fn a_run_answers_with_the_job_that_is_there_already() {
    let app = App::start().await;
    let admin = app.admin().await;
    let reindex = json!({ "spec": "every 1d", "kind": "search.reindex", "overlap": "queue" });
    put(&app, &admin, "reindex", reindex).await.expect(201);
    let run = || app.post(&format!("{PATH}/reindex/run"), json!({})).token(&admin).send();
    let (first, second) = (run().await.expect(202), run().await.expect(202));
    assert_eq!(first["id"], second["id"], "there may be only one");
    let shown = app.get(&format!("{PATH}/reindex")).token(&admin).send().await.expect(200);
    let runs = shown["runs"].as_array().unwrap();
    let existing: Vec<_> = runs.iter().map(|run| (&run["job_id"], &run["existing"])).collect();
    assert_eq!(existing, [(&first["id"], &json!(true)), (&first["id"], &json!(false))]);
    let job =
        app.get(&format!("/v1/admin/jobs/{}", text(&first, "id"))).token(&admin).send().await.expect(200);
    assert_eq!((text(&job, "schedule"), &job["scheduled_for"]), ("reindex", &runs[1]["fire_at"]));
}

#[tokio::test]
async fn schedules_are_for_those_who_may() {
    let app = App::start().await;
    let admin = app.admin().await;
    put(&app, &admin, "nightly", nightly()).await.expect(201);
    let (_, jane) = app.customer("jane@example.com").await;
    let reader = app.key(&["system:read"]).await;
    app.get(PATH).key(&reader).send().await.expect(200);
    app.get(PATH).token(&jane).send().await.problem(403, "forbidden");
    app.get(PATH).send().await.problem(401, "unauthenticated");
    for action in ["pause", "resume", "run"] {
        let path = format!("{PATH}/nightly/{action}");
        app.post(&path, json!({})).key(&reader).send().await.problem(403, "forbidden");
    }
    put(&app, &jane, "mine", nightly()).await.problem(403, "forbidden");
    let writer = app.key(&["system:write"]).await;
    app.post(&format!("{PATH}/nightly/pause"), json!({})).key(&writer).send().await.expect(200);
}
