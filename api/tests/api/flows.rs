//! Batches and workflows over HTTP.

use serde_json::json;
use uuid::Uuid;
use waybill_jobs::{
    Batch, Workflow,
    kinds::{CleanImport, MergeImport, SendMail, SplitImport},
};

use crate::support::{App, text};

#[tokio::test]
async fn a_flow_is_found_shown_and_cancelled() {
    let app = App::start().await;
    let admin = app.admin().await;
    let (jane_id, jane) = app.customer("jane@example.com").await;
    let (_, john) = app.customer("john@example.com").await;
    app.db.execute("delete from jobs").await;
    let conn = &mut *app.db.conn().await;
    let (import_id, flow_id) = (waybill_schema::new_id(), waybill_schema::new_id());
    let workflow = Workflow::new("import")
        .owner(jane_id.parse().unwrap())
        .correlation(import_id)
        .step("split", &SplitImport { import_id, parts: 2 })
        .then("merge", &MergeImport { import_id, flow_id })
        .undo(&CleanImport { import_id, flow_id })
        .start(conn)
        .await
        .unwrap();
    let mails = (0..3).map(|_| SendMail { mail_id: waybill_schema::new_id() });
    let batch = Batch::new("mails").jobs(mails).start(conn).await.unwrap();

    let list = async |query: &str| {
        let page = app.get(&format!("/v1/admin/flows{query}")).token(&admin).send().await.expect(200);
        let ids = page["data"].as_array().unwrap().iter().map(|row| text(row, "id").parse().unwrap());
        (ids.collect::<Vec<Uuid>>(), page["next_cursor"].as_str().map(ToOwned::to_owned))
    };
    assert_eq!(list("").await, (vec![batch, workflow], None));
    let (first, cursor) = list("?limit=1").await;
    assert_eq!(first, [batch]);
    assert_eq!(list(&format!("?limit=1&cursor={}", cursor.unwrap())).await, (vec![workflow], None));
    for (query, expected) in [
        ("?kind=workflow", vec![workflow]),
        ("?name=mails", vec![batch]),
        ("?state=running,undoing", vec![batch, workflow]),
        ("?state=done", vec![]),
        (&format!("?correlation_id={import_id}"), vec![workflow]),
        (&format!("?owner_id={jane_id}"), vec![workflow]),
        ("?held=true", vec![]),
        ("?since=2099-01-01T00:00:00Z", vec![]),
    ] {
        assert_eq!(list(query).await.0, expected, "{query}");
    }
    let wrong = app.get("/v1/admin/flows?state=lost").token(&admin).send().await;
    assert_eq!(wrong.faults(), [("state".to_owned(), "invalid".to_owned())]);

    // Its owner sees it, with its steps; others see nothing.
    let path = format!("/v1/flows/{workflow}");
    let shown = app.get(&path).token(&jane).send().await.expect(200);
    assert_eq!((text(&shown, "name"), text(&shown, "state")), ("import", "running"));
    assert_eq!(shown["progress"], json!({ "done": 0, "total": 2 }));
    assert_eq!(shown["jobs"], json!({ "queued": 1 }));
    let (split, merge) = (&shown["steps"][0], &shown["steps"][1]);
    assert_eq!((text(split, "state"), text(merge, "state")), ("live", "waiting"));
    assert_eq!((&split["job_id"].is_string(), &merge["needs"]), (&true, &json!(["split"])));
    app.get(&path).token(&john).send().await.problem(404, "not_found");
    app.get(&path).send().await.problem(401, "unauthenticated");
    app.get(&format!("/v1/admin/flows/{workflow}")).token(&jane).send().await.problem(403, "forbidden");
    let shown = app.get(&format!("/v1/admin/flows/{batch}")).token(&admin).send().await.expect(200);
    assert_eq!((&shown["progress"], &shown["steps"]), (&json!({ "done": 0, "total": 3 }), &json!([])));

    // Cancelled, once and for all.
    let cancel =
        |id: Uuid| app.post(&format!("/v1/admin/flows/{id}/cancel"), json!({ "reason": "a wrong file" }));
    let reader = app.key(&["system:read"]).await;
    cancel(workflow).key(&reader).send().await.problem(403, "forbidden");
    let cancelled = cancel(workflow).token(&admin).send().await.expect(202);
    assert_eq!((text(&cancelled, "state"), text(&cancelled, "cancel_reason")), ("cancelled", "a wrong file"));
    assert_eq!(text(&cancelled["steps"][1], "state"), "skipped");
    cancel(workflow).token(&admin).send().await.problem(409, "illegal_move");
    cancel(waybill_schema::new_id()).token(&admin).send().await.problem(404, "not_found");
    let shown = app.get(&path).token(&jane).send().await.expect(200);
    assert_eq!((&shown["cancelled"], &shown["cancel_reason"]), (&json!(true), &json!(null)));
    assert_eq!(text(&cancel(batch).token(&admin).send().await.expect(202), "state"), "cancelled");
    assert_eq!(
        app.db.count("select count(*) as n from operator_actions where action = 'flow.cancel'").await,
        2
    );
}

#[tokio::test]
async fn a_flow_that_a_dead_letter_holds_is_seen() {
    let app = App::start().await;
    let admin = app.admin().await;
    let letter = waybill_schema::new_id();
    app.db
        .execute(&format!(
            "insert into flows (id, kind, name, state, sealed) values ('{letter}', 'workflow', 'stuck', 'undoing', true);
             insert into flow_steps (flow_id, name, place, job, state, job_id, undo_job_id)
             values ('{letter}', 'one', 0, '{{\"compensates\": false}}', 'undoing', gen_random_uuid(), '{letter}');
             insert into dead_letters (id, kind, version, queue, priority, attempt, max_attempts, snoozes, claim, run_at,
                 payload, failures, created_at, reason, flow_id, step)
             values ('{letter}', 'mail.send', 1, 'mail', 0, 3, 3, 0, 3, now(), '{{}}', '[]', now(), 'used up', '{letter}', 'one')"
        ))
        .await;
    let get = |path: String| app.get(&path).token(&admin).send();
    let held = get("/v1/admin/flows?held=true".to_owned()).await.expect(200);
    assert_eq!((text(&held["data"][0], "name"), &held["data"][0]["held"]), ("stuck", &json!(true)));
    let shown = get(format!("/v1/admin/flows/{letter}")).await.expect(200);
    assert_eq!(shown["held_by"], json!([letter]));
    let found = async || {
        let checks = get("/v1/admin/system/checks".to_owned()).await.expect(200);
        let check = checks["checks"].as_array().unwrap().iter().find(|check| check["name"] == "flows_held");
        check.unwrap()["found"].as_i64()
    };
    assert_eq!(found().await, Some(1));
    let path = format!("/v1/admin/jobs/{letter}/retry");
    app.post(&path, json!({})).token(&admin).send().await.expect(202);
    assert_eq!(found().await, Some(0));
}
