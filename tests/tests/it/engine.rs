//! Processes killed between two things that belong together: a step and the next, a wish and the word of it, a fire and its
//! commit.

use anyhow::{Context as _, ensure};
use chrono::{TimeDelta, Utc};
use diesel_async::SimpleAsyncConnection as _;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use waybill_tests::{Plan, System, until};

/// Events of the past that the pipeline `indexing` has never seen, and that nobody runs meanwhile.
async fn past(system: &System, events: i64) -> anyhow::Result<()> {
    let sql = format!(
        "insert into queue_controls (queue, paused_at, updated_by) values ('events.indexing', now(), 'test');
         insert into event_log (seq, id, topic, version, aggregate, aggregate_id, shard, payload, created_at, lane)
         select 1000000 + n, gen_random_uuid(), 'product.updated', 1, 'product', gen_random_uuid(), 0, '{{}}',
                now() - interval '1 minute', 'postgres'
         from generate_series(1, {events}) n"
    );
    Ok(system.connection().await?.batch_execute(&sql).await?)
}

/// Asks for a replay of all of it; answers with the path of its job.
async fn replay(system: &System) -> anyhow::Result<String> {
    let body = json!({ "since": (Utc::now() - TimeDelta::hours(1)).to_rfc3339() });
    let (status, job) = system.admin.post("/v1/admin/pipelines/indexing/replays", &body).await?;
    ensure!(status == 202, "{status} {job}");
    Ok(format!("/v1/admin/jobs/{}", job["id"].as_str().context("no id")?))
}

async fn job_in(system: &System, path: &str, state: &str) -> anyhow::Result<Value> {
    until(&format!("{path} to be {state}"), async || {
        let job = system.admin.read(path).await?;
        Ok(if job["state"] == state { Ok(job) } else { Err(job.to_string()) })
    })
    .await
    .with_context(|| system.logs())
}

const EVENT_JOBS: &str = "select count(*) as n from jobs where queue = 'events.indexing'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_whose_worker_is_killed_goes_on_where_it_stood() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(0)).await?;
    past(&system, 2_500).await?;
    let mut job = None;
    // A thousand a step: killed after the first, and the next one after the second.
    for steps in 1..=2 {
        system.add_worker(&[("WAYBILL_FAIL_POINTS", "replay.after_step=kill:1")]).await?;
        if job.is_none() {
            job = Some(replay(&system).await?);
        }
        let mut victim = system.workers.pop().context("no worker")?;
        until("the worker to die", async || Ok(if victim.has_ended()? { Ok(()) } else { Err(victim.log()) }))
            .await?;
        let stood =
            "select coalesce((progress ->> 'done')::bigint, 0) as n from jobs where kind = 'events.replay'";
        ensure!(system.count(stood).await? == steps * 1_000, "{steps}");
        ensure!(system.count(EVENT_JOBS).await? == steps * 1_000, "{steps}");
    }
    system.add_worker(&[]).await?;
    let done = job_in(&system, &job.context("no job")?, "done").await?;
    // One that began anew would find two thousand on their way, and queue the rest.
    ensure!(done["result"] == json!({ "seen": 2_500, "queued": 2_500, "dead": 0 }), "{done}");
    ensure!(done["attempt"] == 3, "{done}");
    ensure!(system.count(EVENT_JOBS).await? == 2_500);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_worker_dies_before_the_word_of_its_end_reaches_it_does_not_come_back()
-> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(0)).await?;
    past(&system, 2_500).await?;
    system.add_worker(&[("WAYBILL_FAIL_POINTS", "replay.after_step=pause(600000):1000")]).await?;
    let path = replay(&system).await?;
    system.until_count("the first step", EVENT_JOBS, 1_000).await?;
    // It hears nothing any more, so the word cannot come before the end.
    system.workers[0].signal(Signal::SIGSTOP)?;
    let (status, told) =
        system.admin.post(&format!("{path}/cancel"), &json!({ "reason": "not wanted" })).await?;
    ensure!(status == 202 && told["state"] == "running", "{status} {told}");
    system.workers.remove(0).kill().await?;
    system.add_worker(&[]).await?;
    let over = job_in(&system, &path, "cancelled").await?;
    ensure!(over["attempt"] == 1, "{over}");
    let outcome =
        "select count(*) as n from job_history where kind = 'events.replay' and reason = 'not wanted'
                   and failures -> -1 ->> 'outcome' = 'worker_lost'";
    ensure!(system.count(outcome).await? == 1, "{over}");
    ensure!(system.count(EVENT_JOBS).await? == 1_000, "no step more");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_killed_between_a_fire_and_its_commit_has_fired_nothing_and_loses_nothing()
-> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(0)).await?;
    let declared = "select count(*) as n from schedules where origin = 'code' and last_at is not null";
    until("the scheduler to work", async || {
        Ok(if system.count(declared).await? > 0 { Ok(()) } else { Err("nothing fired".to_owned()) })
    })
    .await?;
    system.scheduler.kill().await?;
    let mut conn = system.connection().await?;
    // Only the one of this test.
    conn.batch_execute("update schedules set paused = true; delete from jobs").await?;
    let at = (Utc::now() + TimeDelta::seconds(5)).to_rfc3339();
    let body = json!({ "spec": format!("at {at}"), "kind": "housekeeping.maintain" });
    let (status, told) = system.admin.put("/v1/admin/schedules/once", &body).await?;
    ensure!(status.is_success(), "{status} {told}");

    // Its fire is recorded, and its job cannot be written.
    conn.batch_execute("begin; lock table jobs in share mode").await?;
    system.restart_scheduler().await?;
    let waits = "select count(*) as n from pg_locks l join pg_stat_activity a using (pid)
                 where a.datname = current_database() and l.relation = 'jobs'::regclass and not l.granted";
    system.until_count("the scheduler to stand between the two", waits, 1).await?;
    system.scheduler.kill().await?;
    conn.batch_execute("rollback").await?;
    system.until_count("its transaction to end", waits, 0).await?;
    let locked = "select count(*) as n from pg_stat_activity
                  where datname = current_database() and xact_start is not null and pid <> pg_backend_pid()";
    system.until_count("nothing to be open", locked, 0).await?;
    let fires = "select count(*) as n from schedule_fires where schedule = 'once'";
    let jobs = "select count(*) as n from jobs where kind = 'housekeeping.maintain'";
    ensure!((system.count(fires).await?, system.count(jobs).await?) == (0, 0), "half of it was done");

    system.restart_scheduler().await?;
    system.until_count("the time to fire", fires, 1).await?;
    ensure!(system.count(jobs).await? == 1);
    // The rest of its life it has nothing more to fire.
    let rests = "select count(*) as n from schedules where name = 'once' and next_at is null and last_job_id is not null";
    ensure!(system.count(rests).await? == 1);
    ensure!(system.scheduler.stop().await?, "{}", system.scheduler.log());
    ensure!((system.count(fires).await?, system.count(jobs).await?) == (1, 1), "and once only");
    Ok(())
}
