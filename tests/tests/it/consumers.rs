//! A consumer that is none of ours: the Python program of the documents, with a queue of its own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};
use waybill_tests::{Plan, System, shop::checkout};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_python_program_reads_events_beside_our_own_pipelines() -> anyhow::Result<()> {
    let Some(path) = python_path().await? else { return Ok(()) };
    let plan = Plan::default();
    let Some(broker) = plan.broker.clone() else { return Ok(()) };
    let system = System::start(plan).await?;
    let exchange = system.exchange.as_ref().context("no exchange")?;
    let (exchange, queue) = (exchange.name(), exchange.consumer());
    system.sell("MUG-1", "7.65", 10).await?;

    let mut consumer = Command::new("python3")
        .args([PROGRAM, &broker, &queue, "order.*", "--count", "2", "--exchange", &exchange])
        .env("PYTHONPATH", &path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    // Bound before the first event: a queue gets what is published from then on.
    let mut words = BufReader::new(consumer.stderr.take().context("no stderr")?).lines();
    let first = words.next_line().await?;
    ensure!(first.as_deref() == Some("ready"), "{first:?}");

    let mut body = checkout(&[("MUG-1", 1)], "tok_visa");
    body["email"] = json!("ada@example.com");
    let order = system.place(&system.anybody, &body).await?;
    let order = system.settled(&order).await?;

    let output = tokio::time::timeout(waybill_tests::until::PATIENCE, consumer.wait_with_output());
    let output = output.await.context("the consumer waits in vain")??;
    let events: Vec<Value> =
        String::from_utf8(output.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let topics: Vec<&str> = events.iter().filter_map(|event| event["topic"].as_str()).collect();
    ensure!(topics == ["order.placed", "order.confirmed"], "{events:#?}");
    ensure!(events.iter().all(|event| event["payload"]["order_id"] == order["id"]), "{events:#?}");
    // Ours had them too.
    system.until_count("the mail", "select count(*) as n from mails where status = 'sent'", 1).await?;
    system.at_rest().await?;
    Ok(())
}
