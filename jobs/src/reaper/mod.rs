//! Taking over the jobs of workers that died.
//!
//! Any process may run it, and each worker does. A look costs one small query and changes nothing. A worker is dead when
//! its advisory lock has been free for the grace (its process is gone), or when its lease has run out (it hangs, or is cut
//! off). Its jobs then go back into the queue with a failure `worker_lost`, or to the dead letters when their attempts are
//! used up: a job that kills its worker cannot go round for ever, and does not take its neighbours along
//! (see [`crate::postgres::suspects`]).

mod takeover;
mod unclaimed;

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use takeover::{TakenOver, sweep};
pub use unclaimed::name_unclaimed;

use crate::flows;
use crate::postgres::{Link, LinkError, Notifier, link::connect, suspects};

/// How long one round may take.
const LIMIT: Duration = Duration::from_secs(30);

/// How often to look for running jobs whose worker has no row.
const ORPHANS: Duration = Duration::from_secs(5);
/// The same once a job had to be left with its dead worker, because somebody had locked it.
const LEFT: Duration = Duration::from_millis(500);

/// How often to look for running jobs that no claim names, with a pass over the whole table.
const UNCLAIMED: Duration = Duration::from_mins(5);
/// How long that may take.
const UNCLAIMED_LIMIT: Duration = Duration::from_mins(4);

/// How often to look for flows that nobody has looked after.
const FLOWS: Duration = Duration::from_secs(2);

/// How often to look whether the next suspect may run, while there are any.
const SUSPECTS: Duration = Duration::from_millis(20);

/// Looks for dead workers, again and again.
pub struct Reaper {
    link: Link,
    notifier: Notifier,
    every: Duration,
    grace: Duration,
    orphans_at: Instant,
    flows_at: Instant,
    /// Where the sweep of flows goes on.
    flows_after: Uuid,
    unclaimed_at: Instant,
    url: String,
}

impl Reaper {
    /// A reaper with a connection of its own. `grace` is how long a worker may be without its lock.
    pub fn new(database_url: &str, notifier: Notifier, every: Duration, grace: Duration) -> Self {
        Self {
            link: Link::new(database_url),
            url: database_url.to_owned(),
            notifier,
            every,
            grace,
            orphans_at: Instant::now(),
            flows_at: Instant::now(),
            flows_after: Uuid::nil(),
            // Not all workers at once.
            unclaimed_at: Instant::now() + UNCLAIMED.mul_f64(rand::random()),
        }
    }

    /// Runs until `stop`. Database errors only make it wait for the next round.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut sweep_at = Instant::now();
        let mut waiting = false;
        loop {
            let now = Instant::now();
            if sweep_at <= now {
                sweep_at = now + self.every.mul_f64(0.75 + rand::random::<f64>() / 4.0);
            }
            let pause = sweep_at - now;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(if waiting { pause.min(SUSPECTS) } else { pause }) => {}
            }
            if Instant::now() >= sweep_at
                && let Err(error) = self.round().await
            {
                tracing::debug!(%error, "the search for dead workers waits for the database");
            }
            waiting = self.release().await.unwrap_or_else(|error| {
                tracing::debug!(%error, "suspects wait for the database");
                false
            });
        }
    }

    /// Lets suspects go whose turn has come; whether more are waiting.
    async fn release(&mut self) -> Result<bool, LinkError> {
        let released = self
            .link
            .run(LIMIT, |mut conn| async move {
                let released = suspects::release(&mut conn).await;
                (conn, released)
            })
            .await?;
        for queue in &released.queues {
            self.notifier.hint(queue);
        }
        Ok(released.waiting)
    }

    async fn sweep_flows(&mut self) -> Result<(), LinkError> {
        let after = self.flows_after;
        let part = self
            .link
            .run(LIMIT, |mut conn| async move {
                let part = flows::sweep_after(&mut conn, after).await;
                (conn, part)
            })
            .await?;
        self.flows_after = part.next;
        for queue in &part.looked.queues {
            self.notifier.hint(queue);
        }
        Ok(())
    }

    /// Beside the rounds, and on a connection without their limits: over millions of jobs it takes a while, for which the jobs of a
    /// dead worker must not wait.
    fn name_unclaimed(&self) {
        let url = self.url.clone();
        tokio::spawn(async move {
            let named = tokio::time::timeout(UNCLAIMED_LIMIT, async {
                Ok::<_, LinkError>(name_unclaimed(&mut connect(&url).await?).await?)
            });
            match named.await {
                Ok(Ok(0)) => {}
                Ok(Ok(jobs)) => tracing::error!(jobs, "running jobs that no claim named"),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the search for unnamed jobs waits for the database");
                }
                Err(_) => tracing::warn!("the search for jobs that no claim names takes too long"),
            }
        });
    }

    /// One look.
    pub async fn round(&mut self) -> Result<TakenOver, LinkError> {
        let grace = self.grace;
        let orphans = Instant::now() >= self.orphans_at;
        if orphans {
            self.orphans_at = Instant::now() + ORPHANS;
        }
        let taken = self
            .link
            .run(LIMIT, |mut conn| async move {
                let taken = sweep(&mut conn, grace, orphans).await;
                (conn, taken)
            })
            .await?;
        for queue in &taken.queues {
            self.notifier.hint(queue);
        }
        if taken.left > 0 {
            self.orphans_at = Instant::now() + LEFT;
        }
        if Instant::now() >= self.flows_at || taken.is_any() {
            self.flows_at = Instant::now() + FLOWS.mul_f64(0.5 + rand::random::<f64>() / 2.0);
            self.sweep_flows().await?;
        }
        if Instant::now() >= self.unclaimed_at {
            self.unclaimed_at = Instant::now() + UNCLAIMED;
            self.name_unclaimed();
        }
        Ok(taken)
    }
}
