//! The binary itself.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill-sandbox"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WAYBILL_")) {
        command.env_remove(name);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts `command` and reads the address it prints.
fn start(command: &mut Command) -> (Process, BufReader<ChildStdout>, String) {
    let mut process = Process(command.spawn().unwrap());
    let mut stdout = BufReader::new(process.0.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["event"], "listening");
    let url = format!("http://{}", line["address"].as_str().unwrap());
    (process, stdout, url)
}

#[tokio::test]
async fn says_where_it_listens_and_stops_on_a_signal() {
    let (mut process, mut stdout, url) = start(
        command()
            .env("WAYBILL_SANDBOX_LISTEN", "127.0.0.1:0")
            .env("WAYBILL_SANDBOX_API_KEY", "sk_other")
            // As Compose files leave them: there, and empty or off.
            .env("WAYBILL_SANDBOX_WEBHOOK_URL", "")
            .env("WAYBILL_SANDBOX_JOURNAL_FSYNC", "false"),
    );
    let client = client();
    let summary = |key: &str| client.get(format!("{url}/v1/ledger/summary")).bearer_auth(key).send();
    assert_eq!(summary("sk_other").await.unwrap().status(), 200);
    assert_eq!(summary("sk_sandbox").await.unwrap().status(), 401);

    let pid = process.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = tokio::task::spawn_blocking(move || process.0.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "stdout carries the one line only");
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal.jsonl");
    let gateway = || start(command().args(["--listen", "127.0.0.1:0", "--journal"]).arg(&journal));
    let client = client();

    let (mut process, _, url) = gateway();
    let mut answered = 0;
    for nth in 0..20 {
        let request = client
            .post(format!("{url}/v1/authorizations"))
            .bearer_auth("sk_sandbox")
            .header("idempotency-key", format!("k{nth}"))
            .json(&crate::support::authorization("1.00", "tok_visa", "order"));
        assert_eq!(request.send().await.unwrap().status(), 201);
        answered += 1;
    }
    process.0.kill().unwrap();
    process.0.wait().unwrap();

    let (_process, _, url) = gateway();
    let summary = client.get(format!("{url}/v1/ledger/summary")).bearer_auth("sk_sandbox").send();
    let summary: Value = summary.await.unwrap().json().await.unwrap();
    assert_eq!(summary["authorizations"], answered);
}

#[test]
fn a_wrong_configuration_stops_the_start_with_every_problem() {
    let output = command()
        .args(["--listen", "127.0.0.1:0", "--webhook-secret", "nonsense", "--webhook-attempts", "0"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("webhook-secret") && text.contains("webhook-attempts"), "{text}");
}

fn client() -> reqwest::Client {
    // The library installs it when it serves; here only the other process does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}
