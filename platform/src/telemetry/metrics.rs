//! The process's metrics, in Prometheus' text format.

use std::{sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::process;

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Upper bounds in seconds, 1 ms to 5 min: from a fast statement to a long import step, about three to a decade.
const BUCKETS: [f64; 17] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Histograms keep raw samples until they are folded into buckets; every 5 s, even when nobody scrapes, memory stays flat.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the recorder behind the `metrics` macros, once, and returns its handle. Histograms are in seconds.
pub fn metrics() -> PrometheusHandle {
    HANDLE
        .get_or_init(|| {
            let builder = PrometheusBuilder::new();
            // Only an empty list of buckets is refused.
            let builder = builder.set_buckets(&BUCKETS).unwrap_or_default();
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::error!("another metrics recorder is installed: /metrics will lack what it records");
            }
            process::start();
            let upkeep = handle.clone();
            let spawned = std::thread::Builder::new().name("metrics-upkeep".to_owned()).spawn(move || {
                loop {
                    std::thread::sleep(UPKEEP);
                    upkeep.run_upkeep();
                }
            });
            if let Err(error) = spawned {
                tracing::error!(%error, "no thread for the upkeep of metrics");
            }
            handle
        })
        .clone()
}

/// Everything recorded so far, with the process's own figures read at this moment.
pub fn render() -> String {
    let mut text = metrics().render();
    process::render(&mut text);
    text
}
