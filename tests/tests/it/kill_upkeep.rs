//! A worker killed half-way through what keeps the system in order: days of tables, events of the past, secrets.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use diesel_async::SimpleAsyncConnection as _;
use lapin::{
    Connection, ConnectionProperties,
    options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde_json::{Value, json};
use waybill_tests::{
    Plan, System,
    receiver::{OPEN, Receiver},
    shop::checkout,
    until,
};

use crate::{kill::dies_at, operator::Operator};

async fn execute(system: &System, statements: &str) -> anyhow::Result<()> {
    Ok(system.connection().await?.batch_execute(statements).await?)
}

/// Starts a worker, has it finish the one job of this kind, and stops it; the job's attempts and result.
async fn finished_by_another(system: &mut System, kind: &str) -> anyhow::Result<(i64, Value)> {
    system.add_worker(&[]).await?;
    let operator = Operator::of(system, &["system:read"]).await?;
    let job = until(&format!("{kind} to end"), async || {
        let found = operator.json(&format!("jobs list --kind {kind} --state done")).await?;
        let rows = found["data"].as_array().context("no data")?;
        Ok(if rows.len() == 1 { Ok(rows[0].clone()) } else { Err(found.to_string()) })
    })
    .await
    .with_context(|| system.logs())?;
    let show = format!("jobs show {}", job["id"].as_str().context("no id")?);
    let job = operator.json(&show).await?;
    Ok((job["attempt"].as_i64().context("no attempt")?, job["result"].clone()))
}

async fn buy(system: &System) -> anyhow::Result<()> {
    let mut body = checkout(&[("MUG-1", 1)], "tok_visa");
    body["email"] = json!("ada@example.com");
    let order = system.place(&system.anybody, &body).await?;
    let order = system.settled(&order).await?;
    ensure!(order["status"] == "confirmed", "{order}");
    Ok(())
}

/// Rows of a day that has no partition.
fn rows_ahead(days: i64) -> String {
    format!(
        "insert into job_history (id, kind, version, queue, priority, state, attempt, max_attempts, snoozes, claim, run_at,
             payload, failures, created_at, finished_at)
         select gen_random_uuid(), 'test.ahead', 1, 'test', 0, 'done', 1, 1, 0, 1, now(), '{{}}', '[]', now(),
             now() + interval '{days} days'
         from generate_series(1, 1000)"
    )
}

const SWAPPING: &str = "select count(*) as n from pg_stat_activity
    where datname = current_database() and wait_event = 'PgSleep' and query like '%waybill_swap_default%'";
/// Rows of the default partition, and the constraint that is there while it changes.
const UNSETTLED: &str = "select (select count(*) from job_history_default)
    + (select count(*) from pg_constraint where conname = 'job_history_default_days') as n";

/// Has a worker take the place of the filled default partition and kills it when the old one is detached and the new one is not
/// there. The server hears of it at once, or not before it has come to the end.
async fn killed_in_the_swap(system: &mut System, server_notices: bool) -> anyhow::Result<()> {
    let rest = if server_notices { 600 } else { 2 };
    execute(
        system,
        &format!(
            "create or replace function swap_as_it_is() returns text language sql as $f$
                 select pg_get_functiondef('waybill_swap_default'::regproc) $f$;
             create table swap_as_it_was as select swap_as_it_is() as definition;
             do $$ begin
                 execute replace(swap_as_it_is(), 'execute format(''alter table %I rename',
                     'perform pg_sleep({rest}); execute format(''alter table %I rename');
             end $$"
        ),
    )
    .await?;
    system.add_worker(&[]).await?;
    system.until_count("the worker to be in the swap", SWAPPING, 1).await?;
    system.workers.pop().context("no worker")?.kill().await?;
    if server_notices {
        let end = SWAPPING.replacen("count(*)", "count(pg_terminate_backend(pid))", 1);
        ensure!(system.count(&end).await? == 1);
    }
    system.until_count("the swap to be over", SWAPPING, 0).await?;
    let left = if server_notices { 1_001 } else { 0 };
    system.until_count("what the dead worker left", UNSETTLED, left).await?;
    let mend =
        "do $$ begin execute (select definition from swap_as_it_was); end $$; drop table swap_as_it_was";
    execute(system, mend).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_swap_of_a_filled_default_partition() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(0)).await?;
    system.sell("MUG-1", "7.65", 10).await?;
    let ahead = "select count(*) as n from job_history where kind = 'test.ahead'";
    for (server_notices, days, rows) in [(true, 30, 1_000), (false, 60, 2_000)] {
        execute(&system, &rows_ahead(days)).await?;
        // The first one is that of the start of the scheduler.
        if !server_notices {
            let operator = Operator::of(&system, &["system:read", "system:write"]).await?;
            operator.well("schedules run maintain --force").await?;
        }
        killed_in_the_swap(&mut system, server_notices).await?;
        ensure!(system.count(ahead).await? == rows, "rows are lost");
        let retried = "select count(*) as n from job_history where kind = 'housekeeping.maintain' and state = 'done' and attempt = 2";
        let before = system.count(retried).await?;
        system.add_worker(&[]).await?;
        system.until_count("the maintenance to be done by another", retried, before + 1).await?;
        ensure!(system.count(ahead).await? == rows, "rows are lost");
        ensure!(system.count(UNSETTLED).await? == 0, "the default partition is not settled");
        let days = format!(
            "select count(*) as n from pg_class c join pg_inherits i on i.inhrelid = c.oid
             where i.inhparent = 'job_history'::regclass
               and c.relname like 'job_history_' || to_char(now() at time zone 'utc' + interval '{days} days', 'YYYYMMDD') || '_%'"
        );
        ensure!(system.count(&days).await? == 1, "their days have no partition");
        buy(&system).await?;
        let mut worker = system.workers.pop().context("no worker")?;
        ensure!(worker.stop().await?, "{}", worker.log());
    }
    system.add_worker(&[]).await?;
    system.at_rest().await?;
    let twice = "select count(*) as n from (select from job_history group by id having count(*) > 1) t";
    ensure!(system.count(twice).await? == 0, "jobs ended twice");
    Ok(())
}

/// Everything that waits in a queue: the events' ids in their order.
async fn drained(channel: &lapin::Channel, queue: &str) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    while let Some(message) = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await? {
        let event: Value = serde_json::from_slice(&message.data)?;
        ids.push(event["id"].as_str().context("no id")?.to_owned());
    }
    Ok(ids)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_way_through_a_republish_of_events() -> anyhow::Result<()> {
    const EVENTS: usize = 1_200;
    let plan = Plan::default();
    if plan.broker.is_none() {
        return Ok(());
    }
    // A first worker declares the exchange.
    let mut system = System::start(plan).await?;
    let mut first = system.workers.pop().context("no worker")?;
    ensure!(first.stop().await?, "{}", first.log());
    let exchange = system.exchange.as_ref().context("no exchange")?;
    let connection = Connection::connect(exchange.url(), ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let (queue, name) = (exchange.consumer(), exchange.name());
    channel
        .queue_declare(queue.as_str().into(), QueueDeclareOptions::default(), FieldTable::default())
        .await?;
    let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.as_str().into(), name.as_str().into(), "#".into(), bind, none).await?;
    let missed = format!(
        "insert into event_log (seq, id, topic, version, aggregate, aggregate_id, shard, payload, created_at, published_at, lane)
         select -n, gen_random_uuid(), 'product.updated', 1, 'product', gen_random_uuid(), 0, '{{}}', now(),
             now() - n * interval '1 ms', 'postgres'
         from generate_series(1, {EVENTS}) n"
    );
    execute(&system, &missed).await?;
    let operator = Operator::of(&system, &["system:read", "system:write"]).await?;
    operator.well("events republish --since 1h --yes").await?;

    dies_at(&mut system, "republish.published", &[]).await?;
    let published = drained(&channel, &queue).await?;
    dies_at(&mut system, "republish.after_step", &[]).await?;
    let again = drained(&channel, &queue).await?;
    ensure!(
        published.len() == 500 && again == published,
        "what was not noted comes again: {} {}",
        published.len(),
        again.len()
    );
    let (attempts, result) = finished_by_another(&mut system, "events.republish").await?;
    ensure!(attempts == 3 && result["published"] == EVENTS, "{attempts} {result}");
    let rest = drained(&channel, &queue).await?;
    ensure!(rest.len() == EVENTS - 500, "what was noted does not: {}", rest.len());
    let all: BTreeSet<_> = published.iter().chain(&rest).collect();
    ensure!(all.len() == EVENTS, "{} different events", all.len());
    let order = "select count(*) as n from event_log where lane = 'postgres'";
    ensure!(system.count(order).await? == i64::try_from(EVENTS)?);
    ensure!(system.count("select count(*) as n from inbox").await? == 0, "ours leave copies alone");
    connection.close(200, "done".into()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_way_through_the_change_of_the_key_of_secrets() -> anyhow::Result<()> {
    const OLD: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const NEW: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWc=";
    let key = "WAYBILL_SECRETS__ENCRYPTION_KEY";
    let changing = [(key, NEW), ("WAYBILL_SECRETS__ENCRYPTION_KEYS_OLD", OLD)];
    let mut system = System::start(Plan::with(&[(key, OLD)]).workers(0)).await?;
    system.sell("MUG-1", "7.65", 10).await?;
    let (mut receivers, mut secrets) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let receiver = Receiver::start(&[], OPEN).await?;
        let endpoint = system.tell(&receiver.url, &["order.placed"]).await?;
        secrets.push(endpoint["secret"].as_str().context("no secret")?.to_owned());
        receivers.push(receiver);
    }
    let resealed = "select count(*) as n from webhook_endpoints where substr(secret, 1, 1) = '\\x02'";
    ensure!(system.count(resealed).await? == 0);

    // The maintenance of the start of the scheduler.
    dies_at(&mut system, "reseal.after_one", &changing).await?;
    ensure!(system.count(resealed).await? == 1, "one of three");
    system.add_worker(&changing).await?;
    system.until_count("the others to be sealed anew", resealed, 3).await?;
    let done = "select count(*) as n from job_history
        where kind = 'housekeeping.maintain' and state = 'done' and attempt = 2 and (result ->> 'endpoints_resealed')::int = 2";
    system.until_count("the maintenance to be over", done, 1).await?;
    let mut worker = system.workers.pop().context("no worker")?;
    ensure!(worker.stop().await?, "{}", worker.log());

    // Nobody needs the old key any more: what is signed is signed with the secret that each was told.
    system.add_worker(&[(key, NEW)]).await?;
    buy(&system).await?;
    for (receiver, secret) in receivers.iter().zip(&secrets) {
        receiver.until("order.placed", 1).await?;
        receiver.posted()[0].verify(secret)?;
    }
    system.at_rest().await?;
    Ok(())
}
