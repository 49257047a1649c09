//! Processes killed while they look after batches and workflows: another one finishes what they began.

use anyhow::{Context as _, ensure};
use diesel_async::SimpleAsyncConnection as _;
use uuid::Uuid;
use waybill_jobs::{Batch, Workflow, kinds::CleanImport};
use waybill_tests::{Plan, System, until};

const BATCHES: i64 = 30;

/// Of an import that there never was, so it has nothing to do.
fn nothing() -> CleanImport {
    CleanImport { import_id: Uuid::now_v7(), flow_id: Uuid::now_v7() }
}

/// Starts a worker that dies at `stage`, has it begin, and waits until it is dead.
async fn dies(system: &mut System, stage: &str, begin: &str) -> anyhow::Result<()> {
    system.add_worker(&[("WAYBILL_FAIL_POINTS", &format!("{stage}=kill:1"))]).await?;
    system.connection().await?.batch_execute(begin).await?;
    let mut victim = system.workers.pop().context("no worker")?;
    until(&format!("the worker to die at {stage}"), async || {
        Ok(if victim.has_ended()? { Ok(()) } else { Err(victim.log()) })
    })
    .await
}

const OVER: &str = "select count(*) as n from flows where finished_at is not null";
/// What batches call when they are over, wherever it is.
const CALLED: &str = "select count(*) as n from (
    select causation_id from jobs union all select causation_id from job_history) j join flows f on f.id = j.causation_id
    where f.kind = 'batch'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_whose_process_is_killed_half_way_is_finished_by_another() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(0)).await?;
    // Over as soon as they are sealed, and by hand: nobody but a sweep comes to know.
    let seal = "update flows set sealed = true";
    let mut conn = system.connection().await?;
    for _ in 0..BATCHES {
        Batch::new("left behind").when_over(&nothing()).open(&mut conn).await?;
    }
    dies(&mut system, "flow.settling", seal).await?;
    let half = "its end and its callback are one";
    ensure!((system.count(OVER).await?, system.count(CALLED).await?) == (0, 0), "{half}");
    dies(&mut system, "flow.settled", "").await?;
    ensure!((system.count(OVER).await?, system.count(CALLED).await?) == (1, 1), "{half}");
    system.add_worker(&[]).await?;
    system.until_count("the sweep to be finished", OVER, BATCHES).await?;
    let ran = "select count(distinct causation_id) as n from job_history where kind = 'import.clean' and state = 'done'";
    system.until_count("what comes after them to run", ran, BATCHES).await?;
    ensure!(system.count(CALLED).await? == BATCHES, "something was enqueued twice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_goes_on_though_whoever_looks_after_it_is_killed() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(0)).await?;
    let chain =
        Workflow::new("chain").step("one", &nothing()).then("two", &nothing()).then("three", &nothing());
    let id = chain.start(&mut system.connection().await?).await?;
    let ended = format!("select count(*) as n from job_history where flow_id = '{id}' and state = 'done'");
    let begun = format!("select count(*) as n from flow_steps where flow_id = '{id}' and job_id is not null");
    // Between the end of the first step and the commit of what follows; then just after that, in the sweep of another.
    dies(&mut system, "flow.settling", "").await?;
    ensure!(
        (system.count(&ended).await?, system.count(&begun).await?) == (1, 1),
        "the second step has begun"
    );
    dies(&mut system, "flow.settled", "").await?;
    ensure!(system.count(&begun).await? == 2, "the second step has not begun");
    system.add_worker(&[]).await?;
    system
        .until_count("the workflow to end", "select count(*) as n from flows where state = 'done'", 1)
        .await?;
    ensure!(system.count(&ended).await? == 3, "a step ran twice");
    ensure!(
        system.count("select count(distinct step) as n from job_history where step is not null").await? == 3
    );
    Ok(())
}
