//! Changes of many jobs by the operator's program: of what it counted, whatever comes in between.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use poem::{
    EndpointExt as _, Request, Response, Server,
    http::StatusCode,
    listener::{Acceptor as _, Listener as _, TcpListener},
};
use serde_json::Value;
use tokio::task::JoinHandle;
use waybill_tests::{Plan, System};

use crate::operator::Operator;

/// Stands before the API and passes everything on; when a change is asked for, something else comes in right before it.
struct Between {
    url: String,
    server: JoinHandle<()>,
}

impl Drop for Between {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What [`Between`] needs for each request.
#[derive(Clone)]
struct Way {
    http: reqwest::Client,
    api: String,
    database: String,
    statements: &'static str,
}

impl Between {
    /// Before the API of a system; `statements` are what comes in.
    async fn start(system: &System, statements: &'static str) -> anyhow::Result<Self> {
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await?;
        let address = acceptor.local_addr().remove(0).as_socket_addr().context("no address")?.to_string();
        let way = Way {
            http: waybill_platform::http::client(Duration::from_secs(60))?,
            api: format!("http://{}", system.api.address),
            database: system.database_url.clone(),
            statements,
        };
        let pass = poem::endpoint::make(move |request: Request| {
            let way = way.clone();
            async move {
                let failed = |error: anyhow::Error| {
                    poem::Error::from_string(format!("{error:#}"), StatusCode::INTERNAL_SERVER_ERROR)
                };
                way.pass(request).await.map_err(failed)
            }
        });
        let server = tokio::spawn(async move {
            let _ = Server::new_with_acceptor(acceptor).run(pass.map_to_response()).await;
        });
        Ok(Self { url: format!("http://{address}"), server })
    }
}

impl Way {
    async fn pass(&self, mut request: Request) -> anyhow::Result<Response> {
        let key = request.header("x-api-key").unwrap_or_default().to_owned();
        let url = format!("{}{}", self.api, request.uri().path());
        let body: Value = serde_json::from_str(&request.take_body().into_string().await?)?;
        if body["dry_run"] == false {
            let mut conn = AsyncPgConnection::establish(&self.database).await?;
            conn.batch_execute(self.statements).await?;
        }
        let answer = self.http.post(url).header("x-api-key", key).json(&body).send().await?;
        let status = StatusCode::from_u16(answer.status().as_u16())?;
        Ok(Response::builder().status(status).body(answer.text().await?))
    }
}

/// Without workers, so that nothing moves but what the operator moves.
async fn system() -> anyhow::Result<(System, Operator)> {
    let system = System::start(Plan::default().workers(0)).await?;
    let operator = Operator::of(&system, &["system:read", "system:write"]).await?;
    Ok((system, operator))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_that_come_after_the_count_are_left_alone() -> anyhow::Result<()> {
    let (system, operator) = system().await?;
    let mut conn = system.connection().await?;
    let five = "
        insert into dead_letters (id, kind, version, queue, priority, attempt, max_attempts, snoozes, claim, run_at, payload,
            failures, created_at, reason)
        select gen_random_uuid(), 'mail.send', 1, 'mail', 0, 10, 10, 0, 10, now(), '{}', '[]', now(), 'used up'
        from generate_series(1, 5)";
    conn.batch_execute(five).await?;
    let three = "
        insert into dead_letters (id, kind, version, queue, priority, attempt, max_attempts, snoozes, claim, run_at, payload,
            failures, created_at, reason)
        select gen_random_uuid(), 'mail.send', 1, 'mail', 0, 10, 10, 0, 10, now(), '{}', '[]', now(), 'late'
        from generate_series(1, 3)";
    let between = Between::start(&system, three).await?;
    let line = format!("--url {} dead retry --kind mail.send --all --limit 2 --yes", between.url);
    let told = operator.well(&line).await?;
    ensure!(told.contains("5 of 5 changed") && !told.contains("more"), "{told}");
    ensure!(system.count("select count(*) as n from dead_letters where reason = 'used up'").await? == 0);
    // Three pages, and three more before each.
    ensure!(system.count("select count(*) as n from dead_letters where reason = 'late'").await? == 9);
    ensure!(system.count("select count(*) as n from jobs where kind = 'mail.send'").await? == 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_jobs_up_to_a_limit_those_are_changed_that_were_counted() -> anyhow::Result<()> {
    let (system, operator) = system().await?;
    let mut conn = system.connection().await?;
    let four = "
        insert into jobs (id, kind, queue, max_attempts, payload)
        select ('00000000-0000-7000-8000-00000000000' || n)::uuid, 'mail.send', 'mail', 3, '{}'
        from generate_series(1, 4) n";
    conn.batch_execute(four).await?;
    // Newer ones, which come first in the list.
    let two = "
        insert into jobs (id, kind, queue, max_attempts, payload)
        select ('ffffffff-0000-7000-8000-00000000000' || n)::uuid, 'mail.send', 'mail', 3, '{}'
        from generate_series(1, 2) n";
    let between = Between::start(&system, two).await?;
    let line = format!("--url {} jobs discard --state queued --kind mail.send --limit 2 --yes", between.url);
    let told = operator.well(&line).await?;
    ensure!(told.contains("2 of 2 changed"), "{told}");
    let discarded = "select count(*) as n from job_history
        where state = 'discarded' and id in ('00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000004')";
    ensure!(system.count(discarded).await? == 2);
    ensure!(system.count("select count(*) as n from jobs where kind = 'mail.send'").await? == 4);
    Ok(())
}
