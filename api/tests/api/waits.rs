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
