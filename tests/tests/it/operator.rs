//! The operator's program against the real API, as its exit codes and its output tell.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::Command;
use waybill_tests::{Plan, System, process::binary, until};

/// The program with a key of its own.
pub struct Operator {
    settings: BTreeMap<String, String>,
}

/// How a run ended.
pub struct Told {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub errors: String,
}

impl Operator {
    /// With a key of these scopes.
    pub async fn of(system: &System, scopes: &[&str]) -> anyhow::Result<Self> {
        let body = serde_json::json!({ "name": "operator", "scopes": scopes });
        let (_, key) = system.admin.post("/v1/admin/api-keys", &body).await?;
        let url = format!("http://{}", system.api.address);
        let settings =
            [("WAYBILL_URL", url.as_str()), ("WAYBILL_API_KEY", key["key"].as_str().context("no key")?)];
        Ok(Self { settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into() })
    }

    /// Runs a line of arguments; a plus stands for a blank inside one.
    pub async fn run(&self, line: &str) -> anyhow::Result<Told> {
        let arguments: Vec<String> = line.split(' ').map(|part| part.replace('+', " ")).collect();
        let output = Command::new(binary("waybill")?)
            .args(&arguments)
            .env_clear()
            .envs(&self.settings)
            .stdin(std::process::Stdio::null())
            .output()
            .await?;
        Ok(Told {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// What it prints, if all is well.
    pub async fn well(&self, line: &str) -> anyhow::Result<String> {
        let told = self.run(line).await?;
        ensure!(told.code == 0, "{line}: {} {}{}", told.code, told.out, told.errors);
        Ok(told.out)
    }

    /// What it answers, if all is well.
    pub async fn json(&self, line: &str) -> anyhow::Result<Value> {
        let out = self.well(&format!("--json {line}")).await?;
        serde_json::from_str(&out).with_context(|| format!("{line}: {out}"))
    }

    /// Runs a line that must end with this code and say this on standard error.
    pub async fn fails(&self, line: &str, code: i32, with: &str) -> anyhow::Result<()> {
        let told = self.run(line).await?;
        ensure!(told.code == code && told.errors.contains(with), "{line}: {} {}", told.code, told.errors);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_holds_queues_and_works_through_dead_letters() -> anyhow::Result<()> {
    let system = System::start(Plan::default()).await?;
    let operator = Operator::of(&system, &["system:read", "system:write", "orders:read"]).await?;
    system.at_rest().await?;

    // A queue runs dry, holds what comes, and goes on.
    let dry = operator.well("queues drain imports --reason the+disk+is+full --timeout 60").await?;
    ensure!(dry.contains("imports is dry"), "{dry}");
    let queues = operator.json("queues").await?;
    let imports =
        queues["queues"].as_array().context("queues")?.iter().find(|queue| queue["queue"] == "imports");
    ensure!(imports.is_some_and(|queue| queue["pause_reason"] == "the disk is full"), "{queues}");
    operator.well("queues resume imports").await?;
    operator.well("queues limit webhooks --running 3 --rate 100/60s").await?;
    operator.well("queues limit webhooks").await?;
    operator.well("queues concurrency webhooks 7").await?;
    operator.well("queues concurrency webhooks default").await?;
    operator.fails("queues pause imprts", 2, "404").await?;
    operator.well("kinds pause mail.send").await?;
    operator.well("kinds resume mail.send").await?;
    let dry = operator.well("kinds drain import.run --timeout 60").await?;
    ensure!(dry.contains("import.run is dry"), "{dry}");
    operator.well("kinds resume import.run").await?;
    operator.fails("kinds drain import.rum", 2, "404").await?;
    operator.fails("dependencies down mailserver", 2, "404").await?;
    operator.well("dependencies down mail_server --seconds 5").await?;
    operator.well("dependencies up mail_server").await?;
    let workers = operator.well("workers").await?;
    ensure!(workers.contains(&system.workers[0].pid()?.to_string()), "{workers}");
    ensure!(operator.well("status").await?.contains("orders"), "status");
    operator.well("outbox").await?;

    // Dead letters: found, counted, confirmed, changed.
    let mut conn = system.connection().await?;
    diesel_async::SimpleAsyncConnection::batch_execute(
        &mut conn,
        r#"insert into dead_letters (id, kind, version, queue, priority, attempt, max_attempts, snoozes, claim, run_at,
               payload, failures, created_at, reason)
           select gen_random_uuid(), 'housekeeping.expire_checkouts', 1, 'housekeeping', 0, 10, 10, 0, 10, now(), '{}',
               '[{"attempt": 10, "outcome": "failed", "error": "disk full", "finished_at": "2026-01-01T00:00:00Z"}]',
               now(), 'attempts used up'
           from generate_series(1, 5)"#,
    )
    .await?;
    let dead = operator.json("dead list --error DISK --since 1h").await?;
    ensure!(dead["data"].as_array().is_some_and(|data| data.len() == 5), "{dead}");
    let counted = operator.well("dead retry --error disk --dry-run").await?;
    ensure!(counted.contains("5 would be changed"), "{counted}");
    operator.fails("dead retry --error disk", 3, "--yes").await?;
    operator.fails("dead retry", 2, "--all").await?;
    let id = dead["data"][0]["id"].as_str().context("no id")?;
    operator.well(&format!("dead discard {id}")).await?;
    let shown = operator.well(&format!("jobs show {id}")).await?;
    ensure!(shown.contains("discarded"), "{shown}");
    let changed = operator.well("dead retry --error disk --yes").await?;
    ensure!(changed.contains("4 of 4 changed"), "{changed}");
    until("the retried are done", async || {
        let done = operator.json("jobs list --kind housekeeping.expire_checkouts --state dead").await?;
        Ok(if done["data"] == serde_json::json!([]) { Ok(()) } else { Err(done.to_string()) })
    })
    .await?;
    operator.fails("jobs cancel", 2, "--state").await?;
    operator.fails(&format!("jobs cancel {id}"), 2, "409").await?;
    operator.well("jobs retry --state cancelled --kind mail.send --dry-run").await?;

    let actions = operator.well("actions --limit 50").await?;
    for action in
        ["queue.pause", "queue.resume", "queue.limits", "kind.pause", "dependency.down", "job.retry"]
    {
        ensure!(actions.contains(action), "{action} in {actions}");
    }
    let reader = Operator::of(&system, &["system:read"]).await?;
    reader.fails("queues pause mail", 2, "403").await?;
    ensure!(operator.well("completion bash").await?.contains("_waybill"), "completion");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_made_by_an_operator_runs() -> anyhow::Result<()> {
    let system = System::start(Plan::default()).await?;
    let operator = Operator::of(&system, &["system:read", "system:write"]).await?;
    let list = operator.well("schedules").await?;
    for name in ["expire-checkouts", "maintain", "watch-checkouts", "check-invariants", "remove-orphan-files"]
    {
        ensure!(list.contains(name), "{name} in {list}");
    }
    operator.well("schedules put often --spec every+1s --kind housekeeping.maintain").await?;
    operator
        .fails("schedules put wrong --spec every+1s --kind housekeeping.mantain", 2, "is none of")
        .await?;
    until("it has run", async || {
        let shown = operator.json("schedules show often").await?;
        let ran = shown["runs"].as_array().is_some_and(|runs| runs.iter().any(|run| run["state"] == "done"));
        Ok(if ran { Ok(()) } else { Err(shown.to_string()) })
    })
    .await?;
    operator.well("schedules pause often").await?;
    let job = operator.well("schedules run often --force").await?;
    let id = job.trim().trim_start_matches("job ").to_owned();
    until("it has run by hand", async || {
        let shown = operator.json(&format!("jobs show {id}")).await?;
        Ok(if shown["state"] == "done" { Ok(()) } else { Err(shown.to_string()) })
    })
    .await?;
    operator.well("schedules resume often").await?;
    operator.well("schedules delete often").await?;
    operator.fails("schedules delete maintain", 2, "409").await?;

    // The report of the invariants is kept as the job's result.
    operator.well("schedules run check-invariants --force").await?;
    until("the invariants were checked", async || {
        let shown = operator.json("schedules show check-invariants").await?;
        let run = &shown["runs"][0];
        Ok(if run["result"]["ok"] == true { Ok(()) } else { Err(shown.to_string()) })
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_gives_a_pipeline_events_of_the_past_again() -> anyhow::Result<()> {
    let system = System::start(Plan::default()).await?;
    let operator = Operator::of(&system, &["system:read", "system:write"]).await?;
    system.sell("MUG-1", "7.65", 10).await?;
    system.at_rest().await?;
    let indexed = "select count(*) as n from inbox where pipeline = 'indexing'";
    until("the product to be indexed", async || {
        Ok(if system.count(indexed).await? > 0 { Ok(()) } else { Err("not yet".to_owned()) })
    })
    .await?;

    let pipelines = operator.json("pipelines").await?;
    let names: Vec<&str> =
        pipelines["data"].as_array().context("data")?.iter().filter_map(|p| p["name"].as_str()).collect();
    ensure!(names == ["indexing", "notifications", "webhooks"], "{pipelines}");

    operator.fails("replay --pipeline indexing --since 1h", 3, "--yes").await?;
    operator.fails("replay --pipeline index --since 1h --yes", 2, "404").await?;
    operator
        .fails("replay --pipeline indexing --topic order.placed --since 1h --yes", 2, "product.updated")
        .await?;
    let before = system.count(indexed).await?;
    let job = operator.json("replay --pipeline indexing --since 1h --yes").await?;
    let show = format!("jobs show {}", job["id"].as_str().context("no id")?);
    let done = until("the replay to end", async || {
        let job = operator.json(&show).await?;
        Ok(if job["state"] == "done" { Ok(job) } else { Err(job.to_string()) })
    })
    .await?;
    ensure!(done["result"]["queued"] == before, "{done}");
    system.until_count("the events to be handled again", indexed, before).await?;
    system.at_rest().await?;
    Ok(())
}
