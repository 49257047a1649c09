//! What only a process of its own can show: signals, the line for the launcher, JSON logs, panics. The test starts
//! itself again as the process under test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use waybill_platform::{Config, service, shutdown, telemetry};

const ROLE: &str = "WAYBILL_TEST_ROLE";

/// Not a test of its own: the process that the others start.
#[test]
fn process_under_test() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let config = Config::from_variables([
        ("WAYBILL_DATABASE__URL", "postgres://localhost/unused"),
        ("WAYBILL_LOG__FORMAT", "json"),
    ])
    .unwrap();
    telemetry::init(&config.log, &config.telemetry, "waybill-test");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let stop = shutdown::token();
        let task = tokio::spawn(async { panic!("on purpose") });
        assert!(task.await.is_err());
        let span = tracing::info_span!("request", request_id = "r-1");
        span.in_scope(|| tracing::info!(order = "o-1", "accepted"));
        service::announce("127.0.0.1:1234".parse().unwrap());
        stop.cancelled().await;
        tracing::info!("draining");
        std::future::pending::<()>().await;
    });
}

fn start() -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process_under_test", "--nocapture"])
        .env(ROLE, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn it_announces_itself_logs_json_drains_on_the_first_signal_and_ends_on_the_second() {
    let (mut child, mut stdout) = start();
    let mut lines = Vec::new();
    let announced = loop {
        let mut line = String::new();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "never announced: {lines:?}");
        // The test harness prints on the same line before it.
        if let Some(start) = line.find("{\"event\"") {
            break line[start..].to_owned();
        }
        lines.push(line);
    };
    let announced: Value = serde_json::from_str(&announced).unwrap();
    assert_eq!(
        announced,
        serde_json::json!({"event": "listening", "service": "waybill-test", "address": "127.0.0.1:1234"})
    );

    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut logged: Vec<Value> = Vec::new();
    let mut until = |message: &str| {
        loop {
            let mut line = String::new();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "never logged {message}: {logged:?}");
            let event: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(event["service"], "waybill-test");
            logged.push(event.clone());
            if event["message"] == message {
                return event;
            }
        }
    };
    let panic = until("panic");
    assert_eq!((&panic["level"], &panic["panic"]), (&"ERROR".into(), &"on purpose".into()));
    assert!(panic["location"].as_str().unwrap().contains("process.rs"));
    let accepted = until("accepted");
    assert_eq!((&accepted["order"], &accepted["span"]["request_id"]), (&"o-1".into(), &"r-1".into()));

    signal(&child, "TERM");
    until("draining");
    assert!(child.try_wait().unwrap().is_none(), "the first signal only asks");
    signal(&child, "INT");
    let deadline = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the second signal did not end it");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(130));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
}
