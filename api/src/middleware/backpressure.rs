//! Backpressure: work is refused at the door while too much of it waits inside, the least urgent first.
//!
//! What waits is measured by the age of each queue's first job, which is what a new one would have to wait. One cheap query a
//! second and process finds the ages; only of queues that lag it also asks how many jobs wait and how fast they go, for
//! `Retry-After`. When the database does not answer, everything is admitted: the request itself will find out.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use poem::{Endpoint, Middleware, Request, Result, http::Method};
use tokio_util::sync::CancellationToken;
use waybill_jobs::queues;
use waybill_platform::config::{BackpressureConfig, ClassLimits};
use waybill_schema::{
    Pool,
    system::load::{self, DRAIN_WINDOW, OUTBOX},
};

use crate::error::{ApiError, ApiResult, codes};

/// What was measured this long ago no longer counts.
const STALE: Duration = Duration::from_secs(30);
/// Between two looks at how fast a queue drains.
const DRAIN_EVERY: Duration = Duration::from_secs(5);

/// A class of requests that are refused together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Uploads of files.
    Bulk,
    /// Other writes that cause jobs.
    Writes,
    /// Orders.
    Orders,
}

/// What is known of a queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Waiting {
    /// How long its first job has been due.
    pub oldest: Duration,
    /// Jobs that wait, up to 100,000; known of queues that lag.
    pub waiting: Option<i64>,
    /// Jobs that end in a second; known of queues that lag.
    pub drain_per_second: Option<f64>,
}

/// Why a class is refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The queue that lags.
    pub queue: String,
    /// How it stands.
    pub waiting: Waiting,
    /// The age at which the class is refused.
    pub limit: Duration,
    /// When another try makes sense: what waits, divided by how fast it goes, within bounds.
    pub retry_after: Duration,
}

/// How much work waits, as one process knows it. Clones share it.
#[derive(Clone)]
pub struct Load(Arc<Inner>);

struct Inner {
    pool: Pool,
    config: BackpressureConfig,
    seen: RwLock<Option<Seen>>,
}

#[derive(Clone)]
struct Seen {
    at: Instant,
    drained_at: Option<Instant>,
    queues: BTreeMap<String, Waiting>,
}

impl Class {
    /// Every class, the first to be refused first.
    pub const ALL: [Self; 3] = [Self::Bulk, Self::Writes, Self::Orders];

    /// Its name in settings and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Writes => "writes",
            Self::Orders => "orders",
        }
    }

    /// The class of a request; none for what adds no work (reading, carts, signing in), brings money's news (the gateway's
    /// webhooks), or is an operator's: whoever mends an overload must not be locked out by it.
    pub fn of(method: &Method, path: &str) -> Option<Self> {
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return None;
        }
        let below =
            |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if below("/v1/checkout") {
            return Some(Self::Orders);
        }
        if below("/v1/admin/imports") {
            return Some(Self::Bulk);
        }
        let writes = [
            "/v1/auth/register",
            "/v1/admin/products",
            "/v1/admin/variants",
            "/v1/admin/categories",
            "/v1/admin/stock",
        ];
        writes.into_iter().any(below).then_some(Self::Writes)
    }

    fn limits(self, config: &BackpressureConfig) -> ClassLimits {
        match self {
            Self::Bulk => config.bulk,
            Self::Writes => config.writes,
            Self::Orders => config.orders,
        }
    }

    /// Whether its requests add to a queue.
    fn adds_to(self, queue: &str) -> bool {
        let events = queue == OUTBOX || queue.starts_with("events.");
        match self {
            Self::Bulk => events || queue == queues::IMPORTS || queue == queues::IMPORT_PARTS,
            Self::Writes => events || queue == queues::MAIL || queue == queues::WEBHOOKS,
            Self::Orders => events || queue == queues::MAIL,
        }
    }

    fn error(self, refusal: &Refusal) -> ApiError {
        let oldest = refusal.waiting.oldest.as_secs();
        let detail = format!(
            "too much work is waiting: the oldest of {} has waited for {oldest} s; this is taken again below {} s",
            refusal.queue,
            refusal.limit.as_secs()
        );
        let status = match self {
            Self::Orders => poem::http::StatusCode::SERVICE_UNAVAILABLE,
            Self::Bulk | Self::Writes => poem::http::StatusCode::TOO_MANY_REQUESTS,
        };
        ApiError::new(status, codes::OVERLOADED, detail)
            .with("queue", refusal.queue.as_str())
            .with("oldest_seconds", oldest)
            .retry_after(refusal.retry_after)
    }
}

impl Load {
    /// Knows nothing yet, and so refuses nothing.
    pub fn new(pool: Pool, config: BackpressureConfig) -> Self {
        Self(Arc::new(Inner { pool, config, seen: RwLock::new(None) }))
    }

    /// Measures every so often until `shutdown`.
    pub async fn watch(self, shutdown: CancellationToken) {
        if !self.0.config.enabled {
            return;
        }
        let mut ticks = tokio::time::interval(self.0.config.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            match self.look().await {
                Ok(()) => failing = false,
                Err(error) if !std::mem::replace(&mut failing, true) => error.log(),
                Err(_) => {}
            }
            for class in Class::ALL {
                let refusing = f64::from(u8::from(self.refusal(class).is_some()));
                metrics::gauge!("waybill_backpressure_refusing", "class" => class.name()).set(refusing);
            }
        }
    }

    /// Measures once.
    pub async fn look(&self) -> ApiResult<()> {
        let mut conn = self.0.pool.get().await?;
        let heads = load::heads(&mut conn).await?;
        let before = self.seen();
        let mut queues: BTreeMap<String, Waiting> = heads
            .into_iter()
            .map(|head| {
                let oldest = Duration::try_from_secs_f64(head.oldest_seconds).unwrap_or_default();
                let known = before.as_ref().and_then(|seen| seen.queues.get(&head.queue));
                let waiting = known.and_then(|known| known.waiting);
                let drain_per_second = known.and_then(|known| known.drain_per_second);
                (head.queue, Waiting { oldest, waiting, drain_per_second })
            })
            .collect();
        let mut drained_at = before.and_then(|seen| seen.drained_at);
        let lagging: Vec<String> = self.lagging(&queues);
        if !lagging.is_empty() && drained_at.is_none_or(|at| at.elapsed() >= DRAIN_EVERY) {
            let names: Vec<&str> = lagging.iter().map(String::as_str).collect();
            for backlog in load::backlogs(&mut conn, &names).await? {
                if let Some(queue) = queues.get_mut(&backlog.queue) {
                    queue.waiting = Some(backlog.waiting);
                    let ended = u32::try_from(backlog.ended).unwrap_or(u32::MAX);
                    queue.drain_per_second = Some(f64::from(ended) / DRAIN_WINDOW.as_secs_f64());
                }
            }
            drained_at = Some(Instant::now());
        }
        let seen = Seen { at: Instant::now(), drained_at, queues };
        *self.0.seen.write().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(())
    }

    /// Queues that are older than what some class stands.
    fn lagging(&self, queues: &BTreeMap<String, Waiting>) -> Vec<String> {
        let beyond = |name: &str, oldest: Duration| {
            Class::ALL.into_iter().any(|class| self.limit(class, name).is_some_and(|limit| oldest > limit))
        };
        queues
            .iter()
            .filter(|(name, waiting)| name.as_str() != OUTBOX && beyond(name, waiting.oldest))
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn seen(&self) -> Option<Seen> {
        self.0.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The age of a queue at which a class is refused; none if it does not matter to it.
    fn limit(&self, class: Class, queue: &str) -> Option<Duration> {
        let limits = class.limits(&self.0.config);
        let own = class.adds_to(queue).then_some(limits.queue);
        let checkout = (queue == queues::CHECKOUT).then_some(limits.checkout);
        own.or(checkout).filter(|limit| !limit.is_zero())
    }

    /// Why a class is refused at the moment, if it is: the queue that is furthest beyond its limit.
    pub fn refusal(&self, class: Class) -> Option<Refusal> {
        let config = &self.0.config;
        if !config.enabled {
            return None;
        }
        let seen = self.seen().filter(|seen| seen.at.elapsed() < STALE.max(config.every * 2))?;
        let (queue, waiting, limit) = seen
            .queues
            .into_iter()
            .filter_map(|(queue, waiting)| {
                let limit = self.limit(class, &queue)?;
                (waiting.oldest > limit).then_some((queue, waiting, limit))
            })
            .max_by_key(|(_, waiting, limit)| waiting.oldest.saturating_sub(*limit))?;
        let retry_after = retry_after(&waiting, config.max_retry_after);
        Some(Refusal { queue, waiting, limit, retry_after })
    }

    /// What was measured last, and how long ago.
    pub fn measured(&self) -> Option<(Duration, BTreeMap<String, Waiting>)> {
        self.seen().map(|seen| (seen.at.elapsed(), seen.queues))
    }

    /// Whether anything is refused at all.
    pub fn is_enabled(&self) -> bool {
        self.0.config.enabled
    }
}

/// What waits divided by how fast it goes, from a second to `longest`; `longest` when nothing goes.
fn retry_after(waiting: &Waiting, longest: Duration) -> Duration {
    let seconds = match (waiting.waiting, waiting.drain_per_second) {
        (Some(jobs), Some(rate)) if rate > 0.0 => f64::from(u32::try_from(jobs).unwrap_or(u32::MAX)) / rate,
        _ => f64::INFINITY,
    };
    Duration::try_from_secs_f64(seconds)
        .unwrap_or(longest)
        .clamp(Duration::from_secs(1).min(longest), longest)
}

/// Refuses requests by their class.
pub struct Backpressure(Load);

impl Backpressure {
    /// By this measure.
    pub fn new(load: Load) -> Self {
        Self(load)
    }
}

impl<E: Endpoint> Middleware<E> for Backpressure {
    type Output = BackpressureEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        BackpressureEndpoint { inner, load: self.0.clone() }
    }
}

/// See [`Backpressure`].
pub struct BackpressureEndpoint<E> {
    inner: E,
    load: Load,
}

impl<E: Endpoint> Endpoint for BackpressureEndpoint<E> {
    type Output = E::Output;

    async fn call(&self, request: Request) -> Result<E::Output> {
        if let Some(class) = Class::of(request.method(), request.uri().path())
            && let Some(refusal) = self.load.refusal(class)
        {
            let queue = refusal.queue.clone();
            metrics::counter!("waybill_backpressure_refused_total", "class" => class.name(), "queue" => queue)
                .increment(1);
            return Err(class.error(&refusal).into());
        }
        self.inner.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_class_of_the_work_they_add() {
        let of = |method: Method, path: &str| Class::of(&method, path);
        assert_eq!(of(Method::POST, "/v1/checkout"), Some(Class::Orders));
        assert_eq!(of(Method::POST, "/v1/admin/imports"), Some(Class::Bulk));
        assert_eq!(of(Method::PATCH, "/v1/admin/products/1"), Some(Class::Writes));
        assert_eq!(of(Method::POST, "/v1/auth/register"), Some(Class::Writes));
        for path in ["/v1/carts", "/v1/auth/login", "/v1/gateways/sandbox/webhooks", "/v1/admin/jobs/bulk"] {
            assert_eq!(of(Method::POST, path), None, "{path}");
        }
        assert_eq!(of(Method::GET, "/v1/admin/imports"), None);
        assert_eq!(of(Method::POST, "/v1/checkouts"), None);
    }

    #[test]
    fn retry_after_is_the_time_the_backlog_takes() {
        let longest = Duration::from_secs(600);
        let after = |waiting, drain_per_second| {
            retry_after(&Waiting { oldest: longest, waiting, drain_per_second }, longest).as_secs()
        };
        assert_eq!(after(Some(1_000), Some(10.0)), 100);
        assert_eq!(after(Some(1), Some(1_000.0)), 1);
        assert_eq!(after(Some(100_000), Some(1.0)), 600);
        assert_eq!(after(Some(5), Some(0.0)), 600);
        assert_eq!(after(None, None), 600);
    }
}
