//! Health and metrics as a platform asks for them, over HTTP.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use waybill_platform::{http, ops};

struct Process {
    address: SocketAddr,
    stop: CancellationToken,
    client: reqwest::Client,
}

impl Process {
    async fn start(readiness: ops::Readiness) -> Self {
        let stop = CancellationToken::new();
        let address = ops::serve("127.0.0.1:0".parse().unwrap(), readiness, stop.clone()).await.unwrap();
        Self { address, stop, client: http::client(Duration::from_secs(10)).unwrap() }
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("http://{}{path}", self.address)).send().await.unwrap()
    }

    async fn ready(&self) -> (u16, Value) {
        let response = self.get("/health/ready").await;
        assert_eq!(response.headers()["cache-control"], "no-store");
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Answers are kept for a second, so a change is waited for.
    async fn until(&self, status: &str) -> (u16, Value) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let (code, report) = self.ready().await;
            if report["status"] == status {
                return (code, report);
            }
            assert!(Instant::now() < deadline, "never {status}: {report}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn switch(
    on: &Arc<AtomicBool>,
) -> impl Fn() -> std::future::Ready<Result<(), String>> + Send + Sync + 'static {
    let on = on.clone();
    move || {
        std::future::ready(if on.load(Ordering::SeqCst) { Ok(()) } else { Err("secret detail".to_owned()) })
    }
}

#[tokio::test]
async fn a_process_with_nothing_to_ask_is_live_and_ready() {
    let process = Process::start(ops::Readiness::new()).await;
    let live = process.get("/health/live").await;
    assert_eq!(live.status(), 200);
    assert_eq!(live.json::<Value>().await.unwrap()["status"], "live");
    assert_eq!(process.ready().await, (200, serde_json::json!({ "status": "ready", "checks": [] })));
}

#[tokio::test]
async fn a_lost_substitute_degrades_and_a_lost_necessity_makes_unready_and_both_come_back() {
    let (postgres, broker) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let readiness = ops::Readiness::new();
    readiness.add("postgres", switch(&postgres));
    readiness.add_optional("broker", switch(&broker));
    let process = Process::start(readiness).await;
    assert_eq!(process.until("ready").await.0, 200);

    broker.store(false, Ordering::SeqCst);
    let (code, report) = process.until("degraded").await;
    assert_eq!(code, 200, "work is still welcome");
    assert_eq!(report["checks"][0]["name"], "postgres");
    assert_eq!(report["checks"][0]["required"], true);
    assert_eq!(report["checks"][0]["up"], true);
    assert_eq!(report["checks"][1]["name"], "broker");
    assert_eq!(report["checks"][1]["required"], false);
    assert_eq!(report["checks"][1]["up"], false);

    postgres.store(false, Ordering::SeqCst);
    let (code, report) = process.until("unready").await;
    assert_eq!(code, 503);
    assert!(!report.to_string().contains("secret detail"), "reasons are for the log: {report}");
    assert_eq!(
        process.get("/health/live").await.status(),
        200,
        "a lost database is no reason to restart the process"
    );
    let metrics = process.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("waybill_dependency_up{dependency=\"postgres\"} 0"), "{metrics}");

    postgres.store(true, Ordering::SeqCst);
    broker.store(true, Ordering::SeqCst);
    assert_eq!(process.until("ready").await.0, 200);
}

#[tokio::test]
async fn a_dependency_that_hangs_is_down() {
    let readiness = ops::Readiness::new();
    readiness.add("stuck", std::future::pending::<Result<(), String>>);
    let process = Process::start(readiness).await;
    let (code, report) = process.ready().await;
    assert_eq!((code, &report["checks"][0]["up"]), (503, &Value::Bool(false)));
}

#[tokio::test]
async fn probes_at_the_same_time_ask_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let readiness = ops::Readiness::new();
    let counter = asked.clone();
    readiness.add("counted", move || {
        counter.fetch_add(1, Ordering::SeqCst);
        // Long enough that every probe arrives while the first is being answered.
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok::<(), String>(())
        }
    });
    let reports = futures::future::join_all((0..50).map(|_| readiness.report())).await;
    assert!(reports.iter().all(|report| report.status == ops::Status::Ready));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stopping_process_refuses_work_but_goes_on_answering() {
    let process = Process::start(ops::Readiness::new()).await;
    assert_eq!(process.until("ready").await.0, 200);
    process.stop.cancel();
    assert_eq!(process.until("draining").await.0, 503);
    assert_eq!(process.get("/health/live").await.status(), 200);
    assert_eq!(process.get("/metrics").await.status(), 200);
}

#[tokio::test]
async fn metrics_hold_what_was_recorded_and_the_process_itself() {
    let process = Process::start(ops::Readiness::new()).await;
    metrics::counter!("ops_test_total", "kind" => "x").increment(3);
    metrics::histogram!("ops_test_seconds").record(0.15);
    let response = process.get("/metrics").await;
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let text = response.text().await.unwrap();
    for line in [
        "ops_test_total{kind=\"x\"} 3",
        "ops_test_seconds_bucket{le=\"0.1\"} 0",
        "ops_test_seconds_bucket{le=\"0.2\"} 1",
        "# TYPE process_cpu_seconds_total counter",
        "waybill_build_info{service=\"waybill\",version=\"0.1.0\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    let figure = |name: &str| -> f64 {
        let line =
            text.lines().find(|line| line.starts_with(name) && line.as_bytes()[name.len()] == b' ').unwrap();
        line[name.len() + 1..].parse().unwrap()
    };
    assert!(figure("process_resident_memory_bytes") > 1e6);
    assert!(figure("process_threads") >= 2.0);
    assert!(figure("process_open_fds") >= 3.0);
    assert!(figure("process_start_time_seconds") > 1.6e9);
}

#[tokio::test]
async fn a_taken_address_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let refused = ops::serve(address, ops::Readiness::new(), CancellationToken::new()).await;
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}
