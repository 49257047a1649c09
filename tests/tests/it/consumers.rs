//! A consumer that is none of ours: the Python program of the documents, with a queue of its own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, ensure};
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicPublishOptions, QueueDeleteOptions},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};
use waybill_tests::{Plan, System, shop::checkout, until};

use crate::operator::Operator;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/events_consumer.py");

/// Where Python finds the client library; `None` on a machine without Python, or without a way to the library.
async fn python_path() -> anyhow::Result<Option<PathBuf>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    if folder.join("pika").exists() {
        return Ok(Some(folder));
    }
    // Into a folder of its own first: another run may do the same, and a half is worse than none.
    let half = folder.with_extension(uuid::Uuid::now_v7().simple().to_string());
    let mut install = Command::new("python3");
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
    let installed = install.arg(&half).arg("pika==1.3.2").stdin(Stdio::null()).output().await;
    match installed {
        Ok(output) if output.status.success() => {
            if std::fs::rename(&half, &folder).is_err() {
                std::fs::remove_dir_all(&half)?;
            }
            Ok(folder.join("pika").exists().then_some(folder))
        }
        Ok(output) => {
            eprintln!("skipped, no pika: {}", String::from_utf8_lossy(&output.stderr));
            Ok(None)
        }
        Err(error) => {
            eprintln!("skipped, no Python: {error}");
            Ok(None)
        }
    }
}

/// The program, running.
struct Reader {
    child: Child,
    words: Lines<BufReader<ChildStderr>>,
}

impl Reader {
    /// Started, with its queue bound: a queue gets what is published from then on.
    async fn start(system: &System, path: &Path, database: &Path, count: usize) -> anyhow::Result<Self> {
        let exchange = system.exchange.as_ref().context("no exchange")?;
        let mut child = Command::new("python3")
            .args([PROGRAM, exchange.url(), &exchange.consumer(), "order.*", "--exchange", &exchange.name()])
            .args(["--count", &count.to_string(), "--db"])
            .arg(database)
            .env("PYTHONPATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let words = BufReader::new(child.stderr.take().context("no stderr")?).lines();
        let mut reader = Self { child, words };
        reader.says("ready").await?;
        Ok(reader)
    }

    /// Waits for a line that begins so.
    async fn says(&mut self, wanted: &str) -> anyhow::Result<()> {
        let said = async {
            loop {
                let line =
                    self.words.next_line().await?.with_context(|| format!("ended without {wanted:?}"))?;
                if line.starts_with(wanted) {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(waybill_tests::until::PATIENCE, said).await.with_context(|| wanted.to_owned())?
    }

    /// What it read, when it has read as much as it was to.
    async fn read(self) -> anyhow::Result<Vec<Value>> {
        let output = tokio::time::timeout(waybill_tests::until::PATIENCE, self.child.wait_with_output());
        let output = output.await.context("the consumer waits in vain")??;
        Ok(String::from_utf8(output.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }
}

/// An order of a mug, settled.
async fn order(system: &System) -> anyhow::Result<Value> {
    let mut body = checkout(&[("MUG-1", 1)], "tok_visa");
    body["email"] = json!("ada@example.com");
    let order = system.place(&system.anybody, &body).await?;
    system.settled(&order).await
}

/// Exactly the two events of this order.
fn tell_of(events: &[Value], order: &Value) -> anyhow::Result<()> {
    let topics: Vec<&str> = events.iter().filter_map(|event| event["topic"].as_str()).collect();
    ensure!(topics == ["order.placed", "order.confirmed"], "{events:#?}");
    ensure!(events.iter().all(|event| event["payload"]["order_id"] == order["id"]), "{events:#?}");
    Ok(())
}

const MAILS: &str = "select count(*) as n from mails where status = 'sent'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_python_program_reads_events_beside_our_own_pipelines() -> anyhow::Result<()> {
    let Some(path) = python_path().await? else { return Ok(()) };
    let plan = Plan::default();
    if plan.broker.is_none() {
        return Ok(());
    }
    let system = System::start(plan).await?;
    system.sell("MUG-1", "7.65", 10).await?;
    let folder = tempfile::tempdir()?;
    let mut reader = Reader::start(&system, &path, &folder.path().join("erp.sqlite"), 2).await?;

    // It comes back when its queue is lost, and keeps what it does not understand.
    let exchange = system.exchange.as_ref().context("no exchange")?;
    let connection = Connection::connect(exchange.url(), ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let queue = exchange.consumer();
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
    reader.says("lost the queue").await?;
    reader.says("ready").await?;
    let newer =
        json!({ "id": "e1", "topic": "order.placed", "version": 2, "created_at": "2026-01-01T00:00:00Z" });
    for body in [newer.to_string(), "nonsense".to_owned()] {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        channel
            .basic_publish("".into(), queue.as_str().into(), options, body.as_bytes(), properties)
            .await?
            .await?;
        reader.says("parked").await?;
    }
    connection.close(200, "done".into()).await?;

    let order = order(&system).await?;
    tell_of(&reader.read().await?, &order)?;
    // Ours had them too.
    system.until_count("the mail", MAILS, 1).await?;
    system.at_rest().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_consumer_missed_is_listed_and_published_again() -> anyhow::Result<()> {
    let Some(path) = python_path().await? else { return Ok(()) };
    let plan = Plan::default();
    if plan.broker.is_none() {
        return Ok(());
    }
    let system = System::start(plan).await?;
    let operator = Operator::of(&system, &["system:read", "system:write"]).await?;
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("erp.sqlite");
    system.sell("MUG-1", "7.65", 10).await?;
    // Nobody but our pipelines was there.
    let missed = order(&system).await?;
    system.until_count("the mail", MAILS, 1).await?;
    system.at_rest().await?;
    let handled = "select count(*) as n from inbox";
    let before = system.count(handled).await?;

    let reader = Reader::start(&system, &path, &database, 2).await?;
    operator.fails("events republish --since 1h --all", 3, "--yes").await?;
    let again = async || {
        let job = operator.json("events republish --since 1h --all --yes").await?;
        let show = format!("jobs show {}", job["id"].as_str().context("no id")?);
        until("the events to be published", async || {
            let job = operator.json(&show).await?;
            Ok(if job["state"] == "done" { Ok(job) } else { Err(job.to_string()) })
        })
        .await
    };
    let done = again().await?;
    ensure!(done["result"]["published"].as_i64().is_some_and(|published| published >= 3), "{done}");
    tell_of(&reader.read().await?, &missed)?;

    // A second time it knows them: it waits for what is new.
    let reader = Reader::start(&system, &path, &database, 2).await?;
    again().await?;
    let fresh = order(&system).await?;
    tell_of(&reader.read().await?, &fresh)?;
    system.until_count("the second mail", MAILS, 2).await?;
    system.at_rest().await?;
    // Our own pipelines left all copies alone: the second order's three are new.
    let exchange = system.exchange.as_ref().context("no exchange")?;
    until("the queues to be empty", async || {
        let waiting = exchange.waiting("webhooks").await?;
        Ok(if waiting == Some(0) { Ok(()) } else { Err(format!("{waiting:?}")) })
    })
    .await?;
    system.until_count("what is new to be handled", handled, before + 3).await?;

    // Listed, a page at a time, in their order.
    let listed = until("the events to be listed", async || {
        let (mut topics, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = operator.json(&format!("events list --since 1h --limit 2{cursor}")).await?;
            for row in page["data"].as_array().context("data")? {
                ensure!(row["lane"] == "amqp" && row["event"]["payload"].is_object(), "{row}");
                if row["event"]["aggregate"] == "order" {
                    topics.push((row["event"]["topic"].clone(), row["event"]["aggregate_id"].clone()));
                }
            }
            if page["more"] != true {
                break;
            }
            cursor = format!(" --cursor {}", page["next_cursor"].as_str().context("no cursor")?);
        }
        Ok(if topics.len() >= 4 { Ok(topics) } else { Err(format!("{topics:?}")) })
    })
    .await?;
    let expected: Vec<(Value, Value)> = [&missed, &fresh]
        .into_iter()
        .flat_map(|order| {
            ["order.placed", "order.confirmed"].map(|topic| (json!(topic), order["id"].clone()))
        })
        .collect();
    ensure!(listed == expected, "{listed:?}");
    let one = format!("events list --aggregate {}", missed["id"].as_str().context("no id")?);
    ensure!(operator.json(&one).await?["data"].as_array().is_some_and(|rows| rows.len() == 2));
    let over_postgres = operator.json("events list --lane postgres").await?;
    ensure!(over_postgres["data"].as_array().is_some_and(Vec::is_empty), "{over_postgres}");
    Ok(())
}
