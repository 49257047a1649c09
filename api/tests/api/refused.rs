//! What operators cannot do to a job, and are told: one by one with the reason, in bulk with the number.

use serde_json::{Value, json};
use waybill_jobs::flows::{self, sweep};

use crate::support::{App, text};

const JOBS: &str = "/v1/admin/jobs";

/// The columns of a job in every table, and the values of one that has failed.
const COLUMNS: &str =
    "id, kind, version, queue, priority, attempt, max_attempts, run_at, payload, created_at, flow_id, step";

fn values(id: &str, kind: &str, flow: Option<&str>) -> String {
    let (flow, step) = flow.map_or(("null".to_owned(), "null"), |flow| (format!("'{flow}'"), "'two'"));
    format!("'{id}', '{kind}', 1, 'mail', 0, 3, 3, now(), '{{}}', now(), {flow}, {step}")
}

fn id() -> String {
    waybill_schema::new_id().to_string()
}

/// Writes a dead letter.
async fn letter(app: &App, flow: Option<&str>) -> String {
    let id = id();
    let values = values(&id, "mail.send", flow);
    app.db
        .execute(&format!(
            "insert into dead_letters ({COLUMNS}, snoozes, claim, failures, reason) values ({values}, 0, 3, '[]', 'used up')"
        ))
        .await;
    id
}

/// Writes a workflow of two steps in a state.
async fn workflow(app: &App, state: &str, two: &str) -> String {
    let id = id();
    let finished = if matches!(state, "running" | "undoing") { "null" } else { "now()" };
    app.db
        .execute(&format!(
            "insert into flows (id, kind, name, state, sealed, finished_at) values ('{id}', 'workflow', 'test', '{state}', true, {finished});
             insert into flow_steps (flow_id, name, place, job, state, job_id)
             values ('{id}', 'one', 0, '{{\"compensates\": false}}', 'done', gen_random_uuid()),
                    ('{id}', 'two', 1, '{{\"compensates\": false}}', '{two}', gen_random_uuid())"
        ))
        .await;
    id
}

#[tokio::test]
async fn a_dead_step_of_a_workflow_that_is_over_is_not_retried() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.db.execute("delete from jobs").await;
    let over = workflow(&app, "failed", "dead").await;
    let back = workflow(&app, "undoing", "dead").await;
    let open = workflow(&app, "running", "dead").await;
    let letters = [letter(&app, Some(&over)).await, letter(&app, Some(&back)).await];
    let wanted = [letter(&app, Some(&open)).await, letter(&app, None).await];
    let post = |path: &str, body: Value| app.post(path, body).token(&admin).send();

    for (letter, flow) in letters.iter().zip([&over, &back]) {
        for path in [format!("{JOBS}/{letter}/retry"), format!("/v1/admin/dead-letters/{letter}/retry")] {
            let refused = post(&path, json!({})).await.problem(409, "illegal_move");
            assert_eq!(text(&refused, "flow_id"), flow);
            assert!(text(&refused, "detail").contains(flow), "{refused}");
        }
    }
    let bulk = |dry_run: bool| json!({ "action": "retry", "filter": {}, "dry_run": dry_run });
    let counted = post("/v1/admin/dead-letters/bulk", bulk(true)).await.expect(200);
    assert_eq!((counted["matched"].as_i64(), counted["changeable"].as_i64()), (Some(4), Some(2)));
    let changed = post("/v1/admin/dead-letters/bulk", bulk(false)).await.expect(200);
    assert_eq!((changed["changed"].as_i64(), changed["changeable"].as_i64()), (Some(2), Some(2)));
    assert_eq!(changed["skipped"], json!([{ "reason": "flow_over", "jobs": 2 }]));
    for id in wanted {
        let job = app.get(&format!("{JOBS}/{id}")).token(&admin).send().await.expect(200);
        assert_eq!(text(&job, "state"), "queued");
    }
    assert_eq!(app.db.count("select count(*) as n from dead_letters").await, 2);
}

#[tokio::test]
async fn a_compensation_is_not_cancelled_and_discarding_it_is_written_down() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.db.execute("delete from jobs").await;
    let flow = workflow(&app, "undoing", "undoing").await;
    let undoes = id();
    let values = values(&undoes, "mail.send", Some(&flow));
    app.db
        .execute(&format!(
            "insert into jobs ({COLUMNS}) values ({values});
             update flow_steps set undo_job_id = '{undoes}' where flow_id = '{flow}' and name = 'two'"
        ))
        .await;
    let post = |path: &str, body: Value| app.post(path, body).token(&admin).send();
    let refused = post(&format!("{JOBS}/{undoes}/cancel"), json!({})).await.problem(409, "illegal_move");
    assert_eq!(text(&refused, "flow_id"), flow);
    let bulk = json!({ "action": "cancel", "filter": { "states": ["queued"] }, "reason": "not wanted" });
    let changed = post(&format!("{JOBS}/bulk"), bulk).await.expect(200);
    assert_eq!(changed["skipped"], json!([{ "reason": "undoes_step", "jobs": 1 }]));
    assert_eq!(
        text(&post(&format!("{JOBS}/{undoes}/discard"), json!({})).await.expect(202), "state"),
        "discarded"
    );
    sweep(&mut *app.db.conn().await).await.unwrap();
    let shown = app.get(&format!("/v1/admin/flows/{flow}")).token(&admin).send().await.expect(200);
    assert_eq!((text(&shown, "state"), text(&shown["steps"][1], "state")), ("failed", "not_undone"));
}

#[tokio::test]
async fn a_unique_job_is_retried_beside_another_only_by_force() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.db.execute("delete from jobs").await;
    let dead = letter(&app, None).await;
    let holder = id();
    app.db
        .execute(&format!(
            "update dead_letters set unique_key = 'mail.send:k', unique_scope = 'live';
             insert into jobs (id, kind, queue, max_attempts, payload, unique_key)
             values ('{holder}', 'mail.send', 'mail', 3, '{{}}', 'mail.send:k');
             insert into job_uniques (key, job_id, scope) values ('mail.send:k', '{holder}', 'live')"
        ))
        .await;
    let post = |path: String, body: Value| app.post(&path, body).token(&admin).send();
    let refused = post(format!("{JOBS}/{dead}/retry"), json!({})).await.problem(409, "illegal_move");
    assert_eq!(text(&refused, "holder"), holder);
    let bulk = json!({ "action": "retry", "filter": { "states": ["dead"] } });
    let skipped = post(format!("{JOBS}/bulk"), bulk).await.expect(200);
    assert_eq!(skipped["skipped"], json!([{ "reason": "slot_taken", "jobs": 1 }]));
    let shown = app.get(&format!("{JOBS}/{dead}")).token(&admin).send().await.expect(200);
    assert_eq!(text(&shown, "unique_key"), "mail.send:k");
    assert_eq!(
        text(&post(format!("{JOBS}/{dead}/retry?force=true"), json!({})).await.expect(202), "state"),
        "queued"
    );
    let slot = format!("select count(*) as n from job_uniques where job_id = '{holder}'");
    assert_eq!(app.db.count(&slot).await, 1);
}

#[tokio::test]
async fn a_checkout_is_not_ended_by_ending_its_job() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.goods(&[("A", "1.00", 10)]).await;
    let order = app.guest_order(&[("A", 1)]).await;
    let post = |path: String, body: Value| app.post(&path, body).token(&admin).send();
    let path = format!("{JOBS}?correlation_id={}&kind=checkout.run", text(&order, "id"));
    let found = app.get(&path).token(&admin).send().await.expect(200);
    let job = text(&found["data"][0], "id").to_owned();
    for action in ["cancel", "discard"] {
        let refused = post(format!("{JOBS}/{job}/{action}"), json!({})).await.problem(409, "illegal_move");
        assert_eq!(text(&refused, "order_id"), text(&order, "id"));
        let bulk = json!({ "action": action, "filter": { "states": ["queued"], "kind": "checkout.run" } });
        let skipped = post(format!("{JOBS}/bulk"), bulk).await.expect(200);
        assert_eq!(skipped["skipped"], json!([{ "reason": "order_under_way", "jobs": 1 }]));
    }
    // Of an order that is settled a job is only left over.
    app.db
        .execute("update orders set status = 'cancelled', step = 'compensated', reason_code = 'test', cancelled_at = now()")
        .await;
    assert_eq!(
        text(&post(format!("{JOBS}/{job}/cancel"), json!({})).await.expect(202), "state"),
        "cancelled"
    );
}

#[tokio::test]
async fn a_bulk_change_goes_on_behind_what_it_has_looked_at() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.db.execute("delete from jobs").await;
    let over = workflow(&app, "failed", "dead").await;
    let old = letter(&app, None).await;
    for _ in 0..3 {
        letter(&app, Some(&over)).await;
    }
    // The newest are in nobody's way: the old one behind them is reached.
    let mut body = json!({ "action": "retry", "filter": {}, "limit": 2 });
    let post = |body: &Value| app.post("/v1/admin/dead-letters/bulk", body.clone()).token(&admin).send();
    let first = post(&body).await.expect(200);
    assert_eq!((first["changed"].as_i64(), first["more"].as_bool()), (Some(0), Some(true)));
    body["cursor"].clone_from(&first["next_cursor"]);
    let rest = post(&body).await.expect(200);
    assert_eq!((rest["changed"].as_i64(), rest["more"].as_bool()), (Some(1), Some(false)));
    assert_eq!(app.db.count(&format!("select count(*) as n from jobs where id = '{old}'")).await, 1);

    // A piece that fails leaves those before it changed, and says so.
    app.db.execute("delete from dead_letters").await;
    app.db
        .execute(&format!(
            "insert into dead_letters ({COLUMNS}, snoozes, claim, failures, reason, died_at)
             select gen_random_uuid(), 'mail.send', 1, 'mail', 0, 3, case when n > 600 then 0 else 3 end, now(), '{{}}', now(), null, null,
                 0, 3, '[]', 'used up', now() - n * interval '1 second'
             from generate_series(1, 700) n"
        ))
        .await;
    // Attempts of none are what `jobs` refuses.
    let failed = post(&json!({ "action": "retry", "filter": {} })).await;
    assert_eq!(
        (failed.status.as_u16(), failed.body["changed"].as_i64()),
        (500, Some(500)),
        "{}",
        failed.body
    );
    let reason = json!({ "action": "cancel", "filter": { "states": ["queued"] }, "reason": "the mail server is gone" });
    let cancelled = app.post(&format!("{JOBS}/bulk"), reason).token(&admin).send().await.expect(200);
    assert_eq!(cancelled["changed"].as_i64(), Some(501));
    let said = "select count(*) as n from job_history where reason = 'the mail server is gone'";
    assert_eq!(app.db.count(said).await, 501);
}

#[tokio::test]
async fn the_record_of_changes_is_filtered_and_cut_into_pages() {
    let app = App::start().await;
    let admin = app.admin().await;
    let system = "/v1/admin/system";
    for queue in ["mail", "imports"] {
        for action in ["pause", "resume"] {
            let path = format!("{system}/queues/{queue}/{action}");
            app.post(&path, json!({})).token(&admin).send().await.expect(200);
        }
    }
    let actions = async |query: &str| {
        let page = app.get(&format!("{system}/actions?{query}")).token(&admin).send().await.expect(200);
        (page["data"].as_array().unwrap().len(), page["next_cursor"].as_str().map(ToOwned::to_owned))
    };
    assert_eq!(actions("action=queue").await.0, 4);
    assert_eq!(actions("action=queue.pause").await.0, 2);
    assert_eq!(actions("target=mail").await.0, 2);
    assert_eq!(actions("actor=api_key:nobody").await.0, 0);
    assert_eq!(actions("since=2099-01-01T00:00:00Z").await.0, 0);
    assert_eq!(actions("until=2020-01-01T00:00:00Z").await.0, 0);
    let (rows, cursor) = actions("limit=3").await;
    assert_eq!(rows, 3);
    assert_eq!(actions(&format!("limit=3&cursor={}", cursor.unwrap())).await, (1, None));
    assert_eq!(flows::held(&mut *app.db.conn().await).await.unwrap(), 0);
}
