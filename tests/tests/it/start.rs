//! How the binaries start, refuse to start, and answer an operator.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waybill_tests::{Plan, System, process::Process, shop::checkout, until};

const BINARIES: [&str; 3] = ["waybill-api", "waybill-worker", "waybill-scheduler"];

fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_wrong_configuration_stops_the_start_and_names_every_problem() -> anyhow::Result<()> {
    let wrong = settings(&[
        ("WAYBILL_DATABASE__URL", "mysql://127.0.0.1/x"),
        ("WAYBILL_API__LISTEN", "everywhere"),
        ("WAYBILL_WORKER__HEARTBEAT", "10s"),
        ("WAYBILL_WORKER__LEASE", "15s"),
        ("WAYBILL_CHECKOUT__CURRENCY", "pounds"),
        ("WAYBILL_AUTH__JWT_SECRET", "short-and-secret"),
        ("WAYBILL_MAIL__TRANSPORT", "smtp"),
        ("WAYBILL_WORKER__LEESE", "3s"),
    ]);
    let named = [
        "database.url",
        "api.listen",
        "worker.heartbeat",
        "checkout.currency",
        "auth.jwt_secret",
        "mail.smtp_url",
        "WAYBILL_WORKER__LEESE",
    ];
    for binary in BINARIES {
        let (well, out, errors) = Process::finish(binary, &[], &wrong).await?;
        ensure!(!well, "{binary} started");
        ensure!(out.is_empty(), "{binary} said on standard output: {out}");
        for problem in named {
            ensure!(errors.contains(problem), "{binary} does not name {problem}: {errors}");
        }
        ensure!(!errors.contains("short-and-secret"), "{binary} tells a secret: {errors}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_no_kind_has_stops_a_workers_start() -> anyhow::Result<()> {
    let system = System::start(Plan::default().workers(0)).await?;
    let settings =
        settings(&[("WAYBILL_DATABASE__URL", &system.database_url), ("WAYBILL_WORKER__QUEUES", "mails=3")]);
    let (well, _, said) = Process::finish("waybill-worker", &[], &settings).await?;
    ensure!(!well, "it serves a queue that is none");
    ensure!(said.contains("worker.queues: \"mails\" is none of") && said.contains("housekeeping"), "{said}");
    Ok(())
}

#[tokio::test]
async fn production_refuses_what_only_fits_a_developers_machine() -> anyhow::Result<()> {
    let developers = settings(&[
        ("WAYBILL_ENVIRONMENT", "production"),
        ("WAYBILL_DATABASE__URL", "postgres://127.0.0.1:1/x"),
        ("WAYBILL_WEBHOOKS__ALLOW_PRIVATE_ADDRESSES", "true"),
    ]);
    for binary in BINARIES {
        let (well, _, errors) = Process::finish(binary, &[], &developers).await?;
        ensure!(!well, "{binary} started");
        for problem in [
            "auth.jwt_secret",
            "secrets.encryption_key",
            "payments.sandbox.api_key",
            "payments.sandbox.webhook_secret",
            "webhooks.allow_private_addresses",
            "api.public_url",
        ] {
            ensure!(errors.contains(problem), "{binary} does not name {problem}: {errors}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_setting_is_named_and_so_is_its_variable() -> anyhow::Result<()> {
    for binary in BINARIES {
        let (well, _, errors) = Process::finish(binary, &[], &BTreeMap::new()).await?;
        ensure!(!well, "{binary} started without a database");
        ensure!(errors.contains("WAYBILL_DATABASE__URL"), "{binary}: {errors}");
    }
    Ok(())
}

/// Runs the operator's program and returns whether it was content, with what it printed.
async fn operator(system: &System, key: &str, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let url = format!("http://{}", system.api.address);
    let settings = settings(&[("WAYBILL_URL", &url), ("WAYBILL_API_KEY", key)]);
    let (well, out, errors) = Process::finish("waybill", arguments, &settings).await?;
    Ok((well, format!("{out}{errors}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_health_checks_orders_and_dead_letters() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default()).await?;
    system.sell("MUG-1", "7.65", 10).await?;
    let mut body = checkout(&[("MUG-1", 1)], "tok_visa");
    body["email"] = json!("ada@example.com");
    let order = system.place(&system.anybody, &body).await?;
    let order = system.settled(&order).await?;
    system.at_rest().await?;

    let scopes = json!({ "name": "operator", "scopes": ["system:read", "orders:read"] });
    let (_, key) = system.admin.post("/v1/admin/api-keys", &scopes).await?;
    let key = key["key"].as_str().context("no key")?.to_owned();

    for address in [&system.api.address, &system.workers[0].address, &system.scheduler.address] {
        for path in ["live", "ready"] {
            let url = format!("http://{address}/health/{path}");
            let (well, said) = operator(&system, "", &["health", &url]).await?;
            ensure!(well, "{url}: {said}");
        }
        let client = waybill_tests::Client::new(&format!("http://{address}"))?;
        let (status, metrics) = client.get("/metrics").await?;
        let metrics = metrics.as_str().unwrap_or_default().to_owned();
        ensure!(status.is_success() && metrics.contains("# TYPE "), "metrics of {address}: {metrics}");
    }

    let client = waybill_tests::Client::new(&format!("http://{}", system.scheduler.address))?;
    until("the gauges of the service", async || {
        let (_, metrics) = client.get("/metrics").await?;
        let metrics = metrics.as_str().unwrap_or_default();
        let told = [
            "waybill_queue_jobs{",
            "waybill_queue_oldest_seconds{",
            "waybill_orders_pending 0",
            "waybill_workers 1",
        ];
        Ok(if told.iter().all(|gauge| metrics.contains(gauge)) { Ok(()) } else { Err(metrics.to_owned()) })
    })
    .await
    .with_context(|| system.logs())?;

    let (well, said) = operator(&system, &key, &["checks"]).await?;
    ensure!(well && said.contains("stock_ledger_sums"), "{said}");
    let (well, said) = operator(&system, &key, &["queues"]).await?;
    ensure!(well && said.contains("waybill-worker"), "{said}");
    let id = order["id"].as_str().context("no id")?;
    let (well, said) = operator(&system, &key, &["order", id]).await?;
    ensure!(well && said.contains("confirmed") && said.contains("checkout.run"), "{said}");
    let (well, said) = operator(&system, &key, &["--json", "order", id]).await?;
    let told: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    ensure!(
        well && told["order"]["id"] == id && told["trail"].as_array().is_some_and(|t| t.len() > 5),
        "{said}"
    );
    let (well, said) = operator(&system, &key, &["dead", "list"]).await?;
    ensure!(well, "{said}");

    // What is wrong is told by the exit code, not only in words.
    let (well, said) = operator(&system, "wbk_nobodys", &["checks"]).await?;
    ensure!(!well && said.contains("401"), "{said}");
    let (well, said) = operator(&system, &key, &["order", "00000000-0000-7000-8000-000000000000"]).await?;
    ensure!(!well && said.contains("404"), "{said}");
    ensure!(system.api.stop().await?, "{}", system.api.log());
    let (well, _) = operator(&system, &key, &["checks"]).await?;
    ensure!(!well, "no API, and all is well?");

    ensure!(system.scheduler.stop().await?, "{}", system.scheduler.log());
    ensure!(system.workers[0].stop().await?, "{}", system.workers[0].log());
    Ok(())
}
