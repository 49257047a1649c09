//! A worker killed with the answers of handlers in hand: before they are stored, and before anybody hears that they are.

use anyhow::ensure;
use waybill_tests::{Plan, System};

use crate::kill::dies_at;

/// Only mails: their handlers leave it to the worker to store how they ended.
const MAILS: [(&str, &str); 2] = [("WAYBILL_WORKER__QUEUES", "mail=8"), ("WAYBILL_WORKER__PIPELINES", "[]")];
const OTHERS: [(&str, &str); 1] = [("WAYBILL_WORKER__QUEUES__MAIL", "0")];
const QUEUED: &str = "select count(*) as n from jobs where kind = 'mail.send' and state = 'queued'";
const SENT: &str = "select count(*) as n from mails where status = 'sent'";
const DONE: &str = "select count(*) as n from job_history where kind = 'mail.send' and state = 'done'";
const ORPHANS: &str = "select count(*) as n from job_claims c where not exists (select from workers w where w.id = c.worker_id)";

/// A system with three orders confirmed, whose mails nobody has sent.
async fn three_mails() -> anyhow::Result<System> {
    let mut system = System::start(Plan::default().workers(0)).await?;
    system.sell("MUG-1", "7.65", 100).await?;
    system.add_worker(&OTHERS).await?;
    let orders = system.place_many(3).await?;
    system.confirmed(&orders).await?;
    system.until_count("mails to be sent", QUEUED, 3).await?;
    Ok(system)
}

/// Another worker comes: each mail is sent once and its job done, after so many attempts in all.
async fn comes_right(system: &mut System, attempts: std::ops::RangeInclusive<i64>) -> anyhow::Result<()> {
    system.add_worker(&MAILS).await?;
    system.until_count("the mails' jobs to be done", DONE, 3).await?;
    system.until_count("the dead worker's claims to be forgotten", ORPHANS, 0).await?;
    system.at_rest().await?;
    ensure!(system.count(SENT).await? == 3 && system.mails_written()? == 3);
    let spent = "select sum(attempt)::bigint as n from job_history where kind = 'mail.send'";
    let spent = system.count(spent).await?;
    ensure!(attempts.contains(&spent), "{spent} attempts\n{}", system.logs());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_and_not_stored_is_run_again() -> anyhow::Result<()> {
    let mut system = three_mails().await?;
    dies_at(&mut system, "outcomes.answered", &MAILS).await?;
    ensure!(system.count(DONE).await? == 0, "an outcome was stored");
    ensure!(system.count(SENT).await? >= 1, "a handler has answered");
    // Those that were claimed with it, one at least, spend a second attempt.
    comes_right(&mut system, 4..=6).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_is_not_run_again_though_nobody_heard_of_it() -> anyhow::Result<()> {
    let mut system = three_mails().await?;
    dies_at(&mut system, "outcomes.stored", &MAILS).await?;
    let stored = system.count(DONE).await?;
    ensure!(stored >= 1, "an outcome was stored");
    comes_right(&mut system, 3..=6 - stored).await
}
