//! Why a job does not run, and what it logs, as it is followed.

use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::support::{App, text};

/// Writes a queued job.
async fn job(app: &App, more: &[(&str, &str)]) -> String {
    let id = waybill_schema::new_id().to_string();
    let names: String = more.iter().flat_map(|(name, _)| [", ", *name]).collect();
    let values: String = more.iter().flat_map(|(_, value)| [", ", *value]).collect();
    app.db
        .execute(&format!(
            "insert into jobs (id, kind, queue, max_attempts, payload{names})
             values ('{id}', 'mail.send', 'mail', 3, '{{}}'{values})"
        ))
        .await;
    id
}

#[tokio::test]
async fn a_job_says_what_it_waits_for() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.db.execute("delete from jobs; delete from workers").await;
    let post = |path: &str, body: Value| app.post(path, body).token(&admin).send();
    let shown =
        async |id: &str| app.get(&format!("/v1/admin/jobs/{id}")).token(&admin).send().await.expect(200);
    let waits = async |id: &str| -> Vec<String> {
        let job = shown(id).await;
        job["waits_for"].as_array().unwrap().iter().map(|why| text(why, "reason").to_owned()).collect()
    };
    let first = job(&app, &[("partition_key", "'k'"), ("limit_key", "'host'")]).await;
    let second = job(&app, &[("partition_key", "'k'")]).await;
    assert_eq!(waits(&first).await, ["no_worker"]);
    app.db
        .execute(
            "insert into workers (id, service, host, pid, version, lock_key, lease_until, queues)
             values (gen_random_uuid(), 'test', 'test', 0, 'test', 0, now() + interval '1 hour', '{mail}')",
        )
        .await;
    assert_eq!(waits(&first).await, Vec::<String>::new());
    let why = shown(&second).await["waits_for"][0].clone();
    assert_eq!((text(&why, "reason"), text(&why, "job_id")), ("partition", first.as_str()));
    let third = job(&app, &[]).await;
    let why = shown(&third).await["waits_for"][0].clone();
    assert_eq!((text(&why, "reason"), why["ahead"].as_i64()), ("turn", Some(2)));

    let system = "/v1/admin/system";
    post(&format!("{system}/queues/mail/pause"), json!({ "reason": "the server moves" })).await.expect(200);
    post(&format!("{system}/kinds/mail.send/pause"), json!({})).await.expect(200);
    post(&format!("{system}/dependencies/mail_server/down"), json!({})).await.expect(200);
    app.db
        .execute(&format!(
            "insert into kind_needs (kind, dependency) values ('mail.send', 'mail_server') on conflict do nothing;
             update jobs set hold = 'key' where id = '{first}';
             update queue_controls set max_running = 0 where queue = 'mail'"
        ))
        .await;
    assert_eq!(
        waits(&first).await,
        ["queue_paused", "kind_paused", "dependency_down", "key_limit", "queue_limit"]
    );
    let job = shown(&first).await;
    assert_eq!((text(&job, "held_by"), text(&job["waits_for"][0], "detail")), ("key", "the server moves"));
    app.db.execute(&format!("update jobs set state = 'scheduled', hold = null, run_at = now() + interval '1 hour' where id = '{first}'")).await;
    assert_eq!(waits(&first).await[0], "not_due");

    // One that runs waits for nothing, and says that somebody wants its end.
    app.db
        .execute(&format!(
            "update jobs set state = 'running', attempt = 1, worker_id = gen_random_uuid(), claimed_at = now() where id = '{first}'"
        ))
        .await;
    assert_eq!(waits(&first).await, Vec::<String>::new());
    let asked = post(&format!("/v1/admin/jobs/{first}/cancel"), json!({})).await.expect(202);
    assert_eq!(
        (text(&asked, "state"), &asked["cancel_asked"], &asked["undo"]),
        ("running", &json!(true), &json!(false))
    );
}

#[tokio::test]
async fn a_job_that_no_worker_knows_says_which_release_it_needs() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.db.execute("delete from jobs; delete from workers").await;
    let id = job(&app, &[("version", "2"), ("hold", "'unknown:2:mail.send'")]).await;
    let worker = async |version: &str, queue: &str, reads: &str| {
        app.db
            .execute(&format!(
                "with w as (
                     insert into workers (id, service, host, pid, version, lock_key, lease_until, queues)
                     values (gen_random_uuid(), 'test', 'test', 0, '{version}', 0, now() + interval '1 hour', '{{{queue}}}')
                     returning id)
                 insert into worker_kinds (worker_id, kind, version) select id, kind, v from w cross join ({reads}) k(kind, v)"
            ))
            .await;
    };
    let why = async || {
        let job = app.get(&format!("/v1/admin/jobs/{id}")).token(&admin).send().await.expect(200);
        let all = job["waits_for"].as_array().unwrap().clone();
        assert_eq!(all.len(), 1, "{all:?}");
        (text(&all[0], "reason").to_owned(), text(&all[0], "detail").to_owned())
    };
    worker("1.0", "mail", "values ('mail.send', 1)").await;
    worker("1.0", "mail", "values ('mail.send', 1)").await;
    worker("0.9", "mail", "values ('other', 1)").await;
    worker("1.1", "search", "values ('mail.send', 2)").await;
    let needs = "needs a worker of mail that knows mail.send in version 2; ";
    assert_eq!(
        why().await,
        (
            "unknown".to_owned(),
            format!(
                "{needs}release 0.9 does not know the kind, release 1.0 reads up to version 1, \
                 release 1.1 knows it and does not serve mail"
            )
        )
    );
}

#[tokio::test]
async fn a_suspect_says_which_job_is_tried_before_it() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.db
        .execute(
            "delete from jobs; delete from workers;
             insert into workers (id, service, host, pid, version, lock_key, lease_until, queues)
             values (gen_random_uuid(), 'test', 'test', 0, 'test', 0, now() + interval '1 hour', '{mail}')",
        )
        .await;
    let held = [("hold", "'suspect'"), ("losses", "2")];
    let (first, second) = (job(&app, &held).await, job(&app, &held).await);
    let why = async |id: &str| {
        let job = app.get(&format!("/v1/admin/jobs/{id}")).token(&admin).send().await.expect(200);
        let all = job["waits_for"].as_array().unwrap().clone();
        assert_eq!((all.len(), text(&all[0], "reason")), (1, "suspect"), "{all:?}");
        all[0].clone()
    };
    assert_eq!(why(&first).await["job_id"], Value::Null, "it is next");
    assert_eq!(text(&why(&second).await, "job_id"), first);
    let said = why(&second).await;
    assert_eq!(text(&said, "detail"), "2 workers ended while it ran; such jobs run one at a time");

    // Let go, and running; after a while it keeps nobody waiting.
    let run = "update jobs set hold = null, state = 'running', attempt = 1, worker_id = gen_random_uuid()";
    app.db.execute(&format!("{run}, claimed_at = now() where id = '{first}'")).await;
    assert_eq!(text(&why(&second).await, "job_id"), first);
    app.db
        .execute(&format!("update jobs set claimed_at = now() - interval '31 s' where id = '{first}'"))
        .await;
    assert_eq!(why(&second).await["job_id"], Value::Null);

    // One that has killed again waits.
    app.db
        .execute(&format!("update jobs set run_at = now() + interval '1 minute' where id = '{second}'"))
        .await;
    assert!(why(&second).await["until"].is_string());
}

/// Reads a stream until it has told `what`.
async fn until_told(
    body: &mut (impl futures::Stream<Item = Result<bytes::Bytes, impl std::fmt::Debug>> + Unpin),
    told: &mut String,
    what: &str,
) {
    while !told.contains(what) {
        let piece = tokio::time::timeout(Duration::from_secs(20), body.next()).await;
        let Some(piece) = piece.unwrap_or_else(|_| panic!("no {what} in {told}")) else {
            panic!("ended without {what}: {told}")
        };
        told.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }
}

#[tokio::test]
async fn lines_are_told_as_they_come_and_taken_up_where_a_stream_broke_off() {
    let app = App::start().await;
    let admin = app.admin().await;
    let id = job(&app, &[]).await;
    let log = async |from: i64, to: i64| {
        app.db
            .execute(&format!(
                "insert into job_logs (job_id, attempt, level, line) select '{id}', 1, 'info', 'line ' || n || '.' from generate_series({from}, {to}) n"
            ))
            .await;
    };
    log(1, 2).await;
    let path = format!("/v1/jobs/{id}/events");
    let mut body = app.get(&path).token(&admin).open().await.into_body().into_bytes_stream();
    let mut told = String::new();
    until_told(&mut body, &mut told, "event: job").await;
    assert!(told.contains("line 1.") && told.contains("line 2."), "{told}");
    log(3, 3).await;
    until_told(&mut body, &mut told, "line 3.").await;
    assert_eq!(told.matches("event: job").count(), 1, "a line alone is no news of the job: {told}");
    app.db.execute(&format!("update jobs set hold = 'key' where id = '{id}'")).await;
    until_told(&mut body, &mut told, "\"held_by\":\"key\"").await;
    let last = told.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap().to_owned();
    drop(body);

    // More lines than are read at once while nobody listens; then none is missing and none comes twice.
    log(4, 500).await;
    app.post(&format!("/v1/admin/jobs/{id}/discard"), json!({})).token(&admin).send().await.expect(202);
    let again = app.get(&path).token(&admin).header("last-event-id", &last).open().await;
    let rest = String::from_utf8(again.into_body().into_bytes().await.unwrap().to_vec()).unwrap();
    assert_eq!(rest.matches("event: log").count(), 497, "lines 4 to 500");
    assert!(!rest.contains("line 3.") && rest.contains("line 4.") && rest.contains("line 500."));
    assert!(rest.trim_end().rsplit("\n\n").next().unwrap().starts_with("id: over\nevent: job"), "{rest}");
    let over = app.get(&path).token(&admin).header("last-event-id", "over").send().await;
    assert_eq!(over.status.as_u16(), 204);
}
