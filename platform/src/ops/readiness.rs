//! The dependencies of a process, asked when somebody asks, at most about once a second.

use std::{
    fmt::Display,
    future::Future,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, join_all};
use serde::Serialize;
use tokio::sync::Mutex;

/// A dependency that has not answered by then counts as down: a platform's own probe waits 1 to 5 s.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Probes of a platform, a balancer and a person within a second cost one check.
const CACHE: Duration = Duration::from_secs(1);

/// The registry of a process's dependencies. Clones share it.
#[derive(Clone, Default)]
pub struct Readiness {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    checks: RwLock<Vec<Arc<Check>>>,
    draining: AtomicBool,
}

struct Check {
    name: &'static str,
    required: bool,
    ask: Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
    /// The last answer. Holding the lock while asking makes simultaneous probes share one question.
    last: Mutex<Option<(Instant, CheckReport)>>,
}

/// The answer of `/health/ready`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// All in all.
    pub status: Status,
    /// Each dependency, in the order of registration.
    pub checks: Vec<CheckReport>,
}

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Everything answers.
    Ready,
    /// Something that the process can do without is down; it takes work all the same.
    Degraded,
    /// Something required is down: no work, please.
    Unready,
    /// A stop was asked for; what runs is being finished.
    Draining,
}

/// How one dependency is. The reason of a failure is in the log and not here, because this answer may be public.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// Name of the dependency.
    pub name: &'static str,
    /// Whether the process cannot work without it.
    pub required: bool,
    /// Whether it answered.
    pub up: bool,
    /// How long the answer took, in milliseconds.
    pub latency_ms: f64,
}

impl Readiness {
    /// An empty registry: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a dependency that the process cannot work without: while it is down the process is unready.
    pub fn add<F, Fut, E>(&self, name: &'static str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        self.push(name, true, check);
    }

    /// Adds a dependency that has a substitute: while it is down the process is degraded, and takes work.
    pub fn add_optional<F, Fut, E>(&self, name: &'static str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        self.push(name, false, check);
    }

    /// From now on the process is not ready, so that balancers send new work elsewhere while it finishes its own.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
    }

    /// Asks every dependency, all at once, each with a time limit of 2 s; answers younger than 1 s are not asked again.
    pub async fn report(&self) -> Report {
        let checks = self.shared.checks.read().map(|checks| checks.clone()).unwrap_or_default();
        let checks = join_all(checks.iter().map(|check| check.report())).await;
        let status = if self.shared.draining.load(Ordering::Acquire) {
            Status::Draining
        } else if checks.iter().any(|check| check.required && !check.up) {
            Status::Unready
        } else if checks.iter().any(|check| !check.up) {
            Status::Degraded
        } else {
            Status::Ready
        };
        Report { status, checks }
    }

    fn push<F, Fut, E>(&self, name: &'static str, required: bool, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let ask = move || -> BoxFuture<'static, Result<(), String>> {
            let asked = check();
            Box::pin(async move { asked.await.map_err(|error| error.to_string()) })
        };
        let check = Check { name, required, ask: Box::new(ask), last: Mutex::new(None) };
        if let Ok(mut checks) = self.shared.checks.write() {
            checks.push(Arc::new(check));
        }
    }
}

impl Status {
    /// Whether new work is welcome.
    pub fn takes_work(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }
}

impl Check {
    async fn report(&self) -> CheckReport {
        let mut last = self.last.lock().await;
        if let Some((asked, report)) = &*last
            && asked.elapsed() < CACHE
        {
            return report.clone();
        }
        let asked = Instant::now();
        let answer = match tokio::time::timeout(CHECK_TIMEOUT, (self.ask)()).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())),
        };
        let latency_ms = asked.elapsed().as_secs_f64() * 1000.0;
        let report = CheckReport { name: self.name, required: self.required, up: answer.is_ok(), latency_ms };
        let was_up = last.as_ref().is_none_or(|(_, before)| before.up);
        match answer {
            Err(error) if was_up => {
                tracing::warn!(dependency = self.name, required = self.required, error, "down");
            }
            Ok(()) if !was_up => tracing::info!(dependency = self.name, "up again"),
            _ => {}
        }
        metrics::gauge!("waybill_dependency_up", "dependency" => self.name).set(if report.up {
            1.0
        } else {
            0.0
        });
        // Timed from the answer, so that a check that takes its full 2 s is not asked again at once.
        *last = Some((Instant::now(), report.clone()));
        report
    }
}
