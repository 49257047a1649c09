//! How much work waits, as one process knows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use waybill_platform::config::BackpressureConfig;
use waybill_schema::{
    Conn, Pool,
    system::load::{self, Backlog, WINDOWS},
};

use super::Class;
use crate::error::ApiResult;

/// What was measured this long ago no longer counts.
const STALE: Duration = Duration::from_secs(30);
/// Between two looks at how fast a queue drains, or a tenth of the time over which that was counted if it is more.
const DRAIN_EVERY: Duration = Duration::from_secs(5);
/// A class is admitted again once the queue is younger than this share of the limit: at one limit for both, each that is let
/// in would close the door behind it.
const RELEASE: f64 = 0.7;

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
    /// The queue that lags, the one with the longest wait of several.
    pub queue: String,
    /// How it stands.
    pub waiting: Waiting,
    /// The age at which the class is refused.
    pub limit: Duration,
    /// The age below which it is admitted again.
    pub release: Duration,
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
    queues: BTreeMap<String, Waiting>,
    /// When the figures of each queue that lags are to be read again.
    due: BTreeMap<String, Instant>,
    /// Which class is refused because of which queue.
    over: BTreeSet<(Class, String)>,
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
        let mut seen =
            Seen { at: Instant::now(), queues: BTreeMap::new(), due: BTreeMap::new(), over: BTreeSet::new() };
        for head in heads {
            let oldest = Duration::try_from_secs_f64(head.oldest_seconds).unwrap_or_default();
            seen.queues.insert(head.queue, Waiting { oldest, waiting: None, drain_per_second: None });
        }
        for (queue, waiting) in &seen.queues {
            for class in Class::ALL {
                let was = before.as_ref().is_some_and(|seen| seen.over.contains(&(class, queue.clone())));
                if let Some(limit) = class.limit(&self.0.config, queue)
                    && (waiting.oldest > limit || was && waiting.oldest > limit.mul_f64(RELEASE))
                {
                    seen.over.insert((class, queue.clone()));
                }
            }
        }
        self.measure(&mut conn, &mut seen, before.as_ref()).await?;
        *self.0.seen.write().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(())
    }

    /// How much waits in the queues that lag, and how fast it goes: what has no figures yet at once, the others now and then.
    async fn measure(&self, conn: &mut Conn, seen: &mut Seen, before: Option<&Seen>) -> ApiResult<()> {
        let lagging: BTreeSet<&str> = seen.over.iter().map(|(_, queue)| queue.as_str()).collect();
        let mut stale = Vec::new();
        for queue in lagging {
            let due = before.and_then(|before| before.due.get(queue)).filter(|due| **due > seen.at);
            match (due, before.and_then(|before| before.queues.get(queue)), seen.queues.get_mut(queue)) {
                (Some(due), Some(known), Some(waiting)) => {
                    waiting.waiting = known.waiting;
                    waiting.drain_per_second = known.drain_per_second;
                    seen.due.insert(queue.to_owned(), *due);
                }
                _ => stale.push(queue),
            }
        }
        if stale.is_empty() {
            return Ok(());
        }
        for Backlog { queue, waiting: jobs, ended, window_seconds } in load::backlogs(conn, &stale).await? {
            let Some(waiting) = seen.queues.get_mut(&queue) else { continue };
            waiting.waiting = Some(jobs);
            waiting.drain_per_second =
                Some(f64::from(u32::try_from(ended).unwrap_or(u32::MAX)) / window_seconds);
            let window = Duration::try_from_secs_f64(window_seconds).unwrap_or(WINDOWS[0]);
            seen.due.insert(queue, seen.at + DRAIN_EVERY.max(window / 10));
        }
        Ok(())
    }

    fn seen(&self) -> Option<Seen> {
        self.0.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why a class is refused at the moment, if it is: of the queues that lag the one that takes longest.
    pub fn refusal(&self, class: Class) -> Option<Refusal> {
        let config = &self.0.config;
        if !config.enabled {
            return None;
        }
        let seen = self.seen().filter(|seen| seen.at.elapsed() < STALE.max(config.every * 2))?;
        seen.over
            .iter()
            .filter(|(refused, _)| *refused == class)
            .filter_map(|(_, queue)| {
                let waiting = *seen.queues.get(queue)?;
                let limit = class.limit(config, queue)?;
                let (release, retry_after) =
                    (limit.mul_f64(RELEASE), retry_after(&waiting, config.max_retry_after));
                Some(Refusal { queue: queue.clone(), waiting, limit, release, retry_after })
            })
            .max_by_key(|refusal| (refusal.retry_after, refusal.waiting.oldest))
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

#[cfg(test)]
mod tests {
    use super::*;

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
