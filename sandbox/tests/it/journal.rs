use std::io::Write;
use std::path::Path;

use serde_json::json;
use waybill_sandbox::{Config, JournalError, ServeError, serve};

use crate::support::{Gateway, gbp, refunds, start_with};

fn config(path: &Path, fsync: bool) -> Config {
    Config { journal: Some(path.to_owned()), journal_fsync: fsync, ..Config::default() }
}

async fn stop(gateway: Gateway) {
    drop(gateway.client);
    gateway.handle.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_restart_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let gateway = start_with(config(&path, true)).await;
    let authorized = gateway.authorize("k1", "10.00", "order-1").await;
    let capture = gateway.capture("k2", &authorized.id(), "6.00").await;
    gateway.post(&refunds(&capture.id()), "k3", gbp("1.50")).await;
    let over = gateway.capture("k4", &authorized.id(), "4.01").await;
    assert_eq!(over.status, 409);
    let (summary, ledger) = (gateway.summary().await, gateway.get("/v1/ledger").await.text);
    let operation = gateway.get("/v1/operations/k2").await.text;
    stop(gateway).await;

    let gateway = start_with(config(&path, false)).await;
    assert_eq!(gateway.summary().await, summary);
    assert_eq!(gateway.get("/v1/ledger").await.text, ledger);
    assert_eq!(gateway.get("/v1/operations/k2").await.text, operation);
    let again = gateway.capture("k2", &authorized.id(), "6.00").await;
    assert_eq!(again.text, capture.text);
    assert!(again.replayed());
    let again = gateway.capture("k4", &authorized.id(), "4.01").await;
    assert_eq!((&again.text, again.code().as_str()), (&over.text, "capture_exceeds_authorized"));
    assert_eq!(gateway.capture("k5", &authorized.id(), "4.01").await.status, 409);
    assert_eq!(gateway.capture("k6", &authorized.id(), "4.00").await.status, 201);
    assert_eq!(gateway.post(&refunds(&capture.id()), "k7", gbp("4.51")).await.status, 409);
    stop(gateway).await;

    let gateway = start_with(config(&path, false)).await;
    assert_eq!(gateway.summary().await["captured"], json!({ "GBP": "10.00" }));
}

#[tokio::test]
async fn a_reset_is_remembered_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let gateway = start_with(config(&path, false)).await;
    gateway.authorize("k1", "10.00", "o").await;
    Gateway::send(gateway.request(reqwest::Method::POST, "/control/reset")).await.unwrap();
    gateway.authorize("k2", "3.00", "o").await;
    stop(gateway).await;
    let gateway = start_with(config(&path, false)).await;
    assert_eq!(gateway.summary().await["authorizations"], 1);
    assert_eq!(gateway.get("/v1/operations/k1").await.status, 404);
    assert_eq!(gateway.get("/v1/operations/k2").await.status, 200);
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_damage_before_it_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let gateway = start_with(config(&path, false)).await;
    gateway.authorize("k1", "10.00", "o").await;
    stop(gateway).await;
    let whole = std::fs::read(&path).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(br#"{"operation":{"at":"2026-"#).unwrap();
    drop(file);

    let gateway = start_with(config(&path, false)).await;
    assert_eq!(gateway.summary().await["authorizations"], 1);
    gateway.authorize("k2", "10.00", "o").await;
    stop(gateway).await;
    let gateway = start_with(config(&path, false)).await;
    assert_eq!(gateway.summary().await["authorizations"], 2);
    stop(gateway).await;

    std::fs::write(&path, [&b"{}\n"[..], &whole].concat()).unwrap();
    let error = serve(config(&path, false)).await.unwrap_err();
    assert!(matches!(error, ServeError::Journal(JournalError::Corrupt { line: 1, .. })), "{error}");

    // The same operation twice would be the same money twice.
    std::fs::write(&path, [&whole[..], &whole].concat()).unwrap();
    let error = serve(config(&path, false)).await.unwrap_err();
    assert!(matches!(error, ServeError::Journal(JournalError::Corrupt { line: 2, .. })), "{error}");
}

#[tokio::test]
async fn two_gateways_do_not_share_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let _first = start_with(config(&path, false)).await;
    let error = serve(config(&path, false)).await.unwrap_err();
    assert!(matches!(error, ServeError::Journal(JournalError::Locked(_))), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_journal_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    std::fs::write(&path, vec![b' '; 2 << 20]).unwrap();
    let error = serve(config(&path, false)).await.unwrap_err();
    assert!(matches!(error, ServeError::Journal(JournalError::Corrupt { line: 1, .. })), "{error}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 << 20, "and is left alone");
    let error = serve(config(&folder.path().join("nowhere/journal"), false)).await.unwrap_err();
    assert!(matches!(error, ServeError::Journal(JournalError::Io { .. })), "{error}");
}
