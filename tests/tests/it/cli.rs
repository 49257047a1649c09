//! What scripts build on: the exit codes of the operator's program, and the fields of its JSON.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};
use waybill_tests::{Plan, System, shop::checkout};

use crate::operator::Operator;

/// Dead letters, and finished jobs, of whoever asks for them.
const JOBS: &str = r#"
    insert into dead_letters (id, kind, version, queue, priority, attempt, max_attempts, snoozes, claim, run_at, claimed_at,
        payload, failures, created_at, reason)
    select ('00000000-0000-7000-8000-00000000000' || n)::uuid, 'mail.send', 1, 'mail', 0, 10, 10, 0, 10, now(), now(), '{}',
        '[{"attempt": 10, "outcome": "failed", "error": "disk full", "started_at": "2026-01-01T00:00:00Z",
           "finished_at": "2026-01-01T00:00:01Z"}]', now(), 'attempts used up'
    from generate_series(1, 3) n"#;
const DEAD: &str = "00000000-0000-7000-8000-000000000001";

/// A workflow that turns back and cannot, because the third dead letter undoes its step.
const HELD: &str = r#"
    insert into flows (id, kind, name, state, sealed)
    values ('00000000-0000-7000-8000-0000000000f1', 'workflow', 'test', 'undoing', true);
    insert into flow_steps (flow_id, name, place, job, state, job_id, undo_job_id)
    values ('00000000-0000-7000-8000-0000000000f1', 'one', 0, '{"compensates": false}', 'undoing', gen_random_uuid(),
            '00000000-0000-7000-8000-000000000003');
    update dead_letters set flow_id = '00000000-0000-7000-8000-0000000000f1', step = 'one'
    where id = '00000000-0000-7000-8000-000000000003'"#;
const FLOW: &str = "00000000-0000-7000-8000-0000000000f1";

async fn system() -> anyhow::Result<System> {
    let system = System::start(Plan::default()).await?;
    diesel_async::SimpleAsyncConnection::batch_execute(&mut system.connection().await?, JOBS).await?;
    Ok(system)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_say_how_it_went() -> anyhow::Result<()> {
    let system = system().await?;
    let operator = Operator::of(&system, &["system:read", "system:write"]).await?;
    let live = format!("health http://{}/health/live", system.api.address);
    let nowhere = format!("health http://{}/health/nowhere", system.api.address);
    for (line, code, says) in [
        ("--version", 0, ""),
        ("--help", 0, ""),
        ("status", 0, ""),
        (live.as_str(), 0, ""),
        ("jobs list --state dead --limit 1", 0, "--cursor"),
        ("dead retry --error disk --dry-run", 0, ""),
        ("dead retry --error no+such --yes", 0, ""),
        ("jobs cancel --state scheduled --kind no.such --reason late", 0, ""),
        // Asked and found wanting: right after the pause a claim may still be on its way.
        ("queues drain imports --timeout 0", 1, ""),
        ("kinds drain import.run --timeout 0", 1, ""),
        (nowhere.as_str(), 1, ""),
        // Not understood, before anybody is asked.
        ("", 2, "unrecognized subcommand"),
        ("jobs", 2, "Usage"),
        ("jobs list --state lost", 2, "possible values: scheduled"),
        ("jobs list --limit 101", 2, "1..=100"),
        ("jobs list --since yesterday", 2, "neither a time"),
        ("flows show 00000000-0000-7000-8000-00000000000f", 2, "404"),
        ("flows list --state lost", 2, "possible values: running"),
        ("events list --since 1h --limit 1", 0, ""),
        ("events list --lane pigeon", 2, "possible values: amqp"),
        ("events republish", 2, "--since"),
        ("dead retry --error disk --limit 0", 2, "1..=10000"),
        ("schedules put x --spec every+1s --kind mail.send --missed never", 2, "possible values: skip"),
        ("schedules put x --spec every+1s --kind mail.send --missed all", 2, "--missed-limit"),
        // Refused.
        ("jobs show 00000000-0000-7000-8000-00000000000f", 2, "404"),
        ("jobs show ../queues", 2, "is no name"),
        ("order 00000000-0000-7000-8000-00000000000f", 2, "403"),
        ("search reindex --category 00000000-0000-7000-8000-00000000000f", 2, "there is no such category"),
        ("--url http://127.0.0.1:1 status", 2, "no answer from"),
        ("--json --url http://127.0.0.1:1 status", 2, "{\"error\":\"no answer from"),
        ("--json dead retry --error disk", 3, "{\"error\":\"retry 3 dead letters?"),
        ("--api-key wbk_unknown status", 2, "401"),
        ("dead retry", 2, "--all"),
        ("jobs discard", 2, "--state"),
        // Not confirmed.
        ("dead retry --error disk", 3, "retry 3 dead letters? There is no terminal to ask on: pass --yes."),
        ("jobs discard --state dead", 3, "discard 3 jobs?"),
        ("events republish --since 1h", 3, "that went over Postgres"),
    ] {
        let told = operator.run(line).await?;
        ensure!(told.code == code && told.errors.contains(says), "{line}: {} {}", told.code, told.errors);
        ensure!(code == 0 || code == 1 || told.out.is_empty(), "{line} prints {}", told.out);
    }
    ensure!(system.count("select count(*) as n from dead_letters").await? == 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_job_is_changed_and_never_only_counted() -> anyhow::Result<()> {
    let system = system().await?;
    let operator = Operator::of(&system, &["system:read", "system:write"]).await?;
    for group in ["jobs retry", "jobs cancel", "jobs discard", "dead retry", "dead discard"] {
        for line in [format!("{group} {DEAD} --dry-run"), format!("{group} --dry-run {DEAD} --yes")] {
            let told = operator.run(&line).await?;
            let clear = told.errors.contains("--dry-run") && told.errors.contains("cannot be used with");
            ensure!(told.code == 2 && clear && told.out.is_empty(), "{line}: {} {}", told.code, told.errors);
        }
        for filter in ["--kind mail.send", "--queue mail", "--error disk", "--since 1h", "--until 1h"] {
            operator.fails(&format!("{group} {DEAD} {filter} --yes"), 2, "cannot be used with").await?;
        }
    }
    operator.fails(&format!("dead retry {DEAD} --all --yes"), 2, "cannot be used with").await?;
    operator.fails(&format!("jobs retry {DEAD} --state dead --yes"), 2, "cannot be used with").await?;
    ensure!(system.count("select count(*) as n from dead_letters").await? == 3, "something was changed");
    ensure!(system.count("select count(*) as n from operator_actions").await? == 0, "something was changed");
    Ok(())
}

/// The names of the fields: of the rows of a list those of the first, and nothing of what is inside of them but objects.
fn shape(value: &Value, depth: usize) -> Value {
    match value {
        Value::Object(members) => {
            let inside = members.iter().map(|(name, value)| (name.clone(), shape(value, depth + 1)));
            Value::Object(inside.collect::<Map<_, _>>())
        }
        Value::Array(rows) if depth < 2 => {
            Value::Array(rows.first().map(|row| shape(row, depth + 1)).into_iter().collect())
        }
        Value::Array(_) => json!([]),
        _ => json!("..."),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fields_of_its_json_are_those_agreed_on() -> anyhow::Result<()> {
    let system = system().await?;
    let operator = Operator::of(&system, &["system:read", "system:write", "orders:read"]).await?;
    system.sell("MUG-1", "7.65", 10).await?;
    let (buyer, _) = system.anybody.register("ada@example.com").await?;
    let order = system.place(&buyer, &checkout(&[("MUG-1", 1)], "tok_visa")).await?;
    system.settled(&order).await?;
    let order = format!("order {}", order["id"].as_str().context("no id")?);
    diesel_async::SimpleAsyncConnection::batch_execute(&mut system.connection().await?, HELD).await?;
    operator.well("queues limit mail --running 5 --rate 100/60s").await?;
    operator.well("queues concurrency mail 2").await?;
    operator.well("dependencies down mail_server").await?;

    let mut shapes = Map::new();
    for (name, line) in [
        ("checks", "checks"),
        ("order", order.as_str()),
        ("jobs list", "jobs list --state dead"),
        ("jobs show", &format!("jobs show {DEAD}")),
        ("jobs logs", &format!("jobs logs {DEAD}")),
        ("jobs retry --dry-run", "jobs retry --state dead --dry-run"),
        ("flows list", "flows list"),
        ("flows show", &format!("flows show {FLOW}")),
        ("queues pause", "queues pause mail"),
        ("queues resume", "queues resume mail"),
        ("queues limit", "queues limit mail --running 5 --rate 100/60s --key-rate 5/1s"),
        ("queues concurrency", "queues concurrency mail 2"),
        ("kinds", "kinds"),
        ("kinds pause", "kinds pause mail.send"),
        ("kinds resume", "kinds resume mail.send"),
        ("dependencies", "dependencies"),
        ("dependencies up", "dependencies up mail_server"),
        ("workers", "workers"),
        ("schedules", "schedules"),
        ("schedules put", "schedules put nightly --spec 30+1+*+*+* --kind housekeeping.maintain"),
        ("schedules show", "schedules show nightly"),
        ("schedules run", "schedules run nightly"),
        ("schedules delete", "schedules delete nightly"),
        ("dead list", "dead list"),
        ("dead retry", &format!("dead retry {DEAD}")),
        ("pipelines", "pipelines"),
        ("replay", "replay --pipeline indexing --since 1h --yes"),
        ("search reindex", "search reindex"),
        ("actions", "actions"),
    ] {
        let mut answer = operator.json(line).await?;
        // What a trail and the details of a record begin with is another matter at each moment, and so is whether mails are held.
        for busy in ["/trail/0/detail", "/data/0/detail", "/data/0/progress", "/progress", "/result", "/held"]
        {
            if let Some(detail) = answer.pointer_mut(busy) {
                *detail = Value::Null;
            }
        }
        shapes.insert(name.to_owned(), shape(&answer, 0));
    }
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&shapes)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_json_where_answers_are() -> anyhow::Result<()> {
    let system = system().await?;
    let operator = Operator::of(&system, &["system:read", "system:write"]).await?;
    let told = operator.run("--json jobs show 00000000-0000-7000-8000-00000000000f").await?;
    let error: Value = serde_json::from_str(&told.errors).with_context(|| told.errors.clone())?;
    ensure!(told.code == 2 && told.out.is_empty() && error["problem"]["code"] == "not_found", "{error}");
    ensure!(error["error"].as_str().is_some_and(|text| text.contains("404")), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_is_all_and_what_is_in_the_way_is_counted() -> anyhow::Result<()> {
    let system = system().await?;
    let operator = Operator::of(&system, &["system:read", "system:write"]).await?;
    let mut conn = system.connection().await?;
    // Seven that go well, and the three others, of which two are steps of a workflow that is over.
    let more = "
        insert into dead_letters (id, kind, version, queue, priority, attempt, max_attempts, snoozes, claim, run_at, payload,
            failures, created_at, reason)
        select gen_random_uuid(), 'housekeeping.expire_checkouts', 1, 'housekeeping', 0, 10, 10, 0, 10, now(), '{}', '[]', now(),
            'used up'
        from generate_series(1, 7);
        insert into flows (id, kind, name, state, sealed, finished_at)
        values ('00000000-0000-7000-8000-0000000000f2', 'workflow', 'over', 'failed', true, now());
        update dead_letters set flow_id = '00000000-0000-7000-8000-0000000000f2', step = 'one'
        where id in ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002')";
    diesel_async::SimpleAsyncConnection::batch_execute(&mut conn, more).await?;
    operator.well("queues pause mail").await?;
    let counted = operator.json("dead retry --all --limit 3 --dry-run").await?;
    ensure!(counted["matched"] == 10 && counted["changeable"] == 8 && counted["more"] == false, "{counted}");
    operator
        .fails(
            "dead retry --all --limit 3",
            3,
            "retry 8 dead letters (10 are found; left alone: 2 flow_over)?",
        )
        .await?;
    let some = operator.well("dead retry --kind mail.send --limit 1 --yes").await?;
    ensure!(some.contains("there are more: --all"), "{some}");
    let told = operator.run("dead retry --all --limit 3 --yes").await?;
    let progress = told.errors.lines().filter(|line| line.ends_with("changed so far")).count();
    ensure!(
        told.code == 0 && progress >= 2 && told.out.contains("2 flow_over"),
        "{} {}",
        told.out,
        told.errors
    );
    ensure!(system.count("select count(*) as n from dead_letters where flow_id is null").await? == 0);
    let refused = operator.run(&format!("dead retry {DEAD}")).await?;
    ensure!(
        refused.code == 2 && refused.errors.contains("00000000-0000-7000-8000-0000000000f2"),
        "{}",
        refused.errors
    );
    let show = "jobs show 00000000-0000-7000-8000-000000000003";
    let waits = operator.well(show).await?;
    ensure!(waits.contains("queue_paused"), "{waits}");
    let of_a_later_release = "update jobs set hold = 'unknown:9:mail.send', version = 9
        where id = '00000000-0000-7000-8000-000000000003'";
    diesel_async::SimpleAsyncConnection::batch_execute(&mut conn, of_a_later_release).await?;
    let waits = operator.well(show).await?;
    ensure!(waits.contains("needs a worker of mail that knows mail.send in version 9"), "{waits}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_is_followed_and_its_flow_is_shown() -> anyhow::Result<()> {
    let system = System::start(Plan::with(&[("WAYBILL_WORKER__CUT_IMPORTS_FROM", "10240")])).await?;
    let operator = Operator::of(&system, &["system:read", "system:write"]).await?;
    let mut file = String::from("sku,name,price\n");
    for row in 0..2_000 {
        writeln!(file, "SKU-{row},Product number {row},1.99")?;
    }
    file.push_str("SKU-WRONG,Free,free\n");
    let path = crate::imports::begin(&system, "products", file.as_str()).await?;
    let import = system.admin.read(&path).await?;
    let job = import["job_id"].as_str().context("no job")?.to_owned();
    let told = operator.run(&format!("jobs logs {job} --follow")).await?;
    ensure!(told.code == 0 && told.out.contains("to the workflow"), "{} {}", told.out, told.errors);
    ensure!(told.out.contains("2001 rows are in: 2000 created"), "{}", told.out);
    ensure!(told.errors.contains("is done"), "{}", told.errors);
    // What was followed is what is kept.
    let kept = operator.well(&format!("jobs logs {job}")).await?;
    ensure!(kept.lines().count() - 1 == told.out.lines().count(), "{kept} {}", told.out);

    let correlation = import["id"].as_str().context("no id")?;
    let flows = operator.json(&format!("flows list --correlation {correlation}")).await?;
    let flow = flows["data"][0]["id"].as_str().context("no flow")?.to_owned();
    let shown = operator.well(&format!("flows show {flow}")).await?;
    for part in ["split", "part 0", "merge", "done"] {
        ensure!(shown.contains(part), "{part} in {shown}");
    }
    operator.fails(&format!("flows cancel {flow}"), 2, "409").await?;
    Ok(())
}
