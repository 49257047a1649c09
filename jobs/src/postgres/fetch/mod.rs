//! The task that claims for all queues of a worker, and queues what is due.

mod queue;
mod upkeep;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, broadcast, mpsc},
    time::Instant,
};

pub use queue::{Batch, Fetched, Slot};
use queue::{POLL, Queue};
use upkeep::{PROMOTE, TIDY};

use super::{
    claim::{Ask, claims},
    link::{Link, LinkError},
    notify::Notifier,
    session::Session,
    unknown::know,
};
use crate::control::{Declared, declare};

/// A claim that takes longer has probably stepped over many jobs of a busy partition key.
const SLOW: Duration = Duration::from_millis(5);
/// On a busy machine every claim is slow, and then looking for followers costs as much as claiming.
const LOOK: Duration = Duration::from_millis(200);
/// How long a statement may take before the connection is given up.
const LIMIT: Duration = Duration::from_secs(15);

/// How long a stop waits for the answer of a claim. Without the answer its jobs are handed back by the last audit.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// Where a queue's claimed jobs come out.
pub type Jobs = mpsc::UnboundedReceiver<Batch>;

/// Claims for all queues of a worker over one connection.
pub struct Fetcher {
    link: Link,
    session: Arc<Session>,
    notifier: Notifier,
    queues: Vec<Queue>,
    wake: Arc<Notify>,
    batch: usize,
    promote_at: Instant,
    places_at: Instant,
    holds_at: Instant,
    /// Queues in which to hold what must wait now: those before this one.
    to_hold: usize,
    tidy_at: Instant,
    declared: Option<Declared>,
}

impl Fetcher {
    /// A fetcher without queues that claims at most `batch` jobs in a statement.
    pub fn new(link: Link, session: Arc<Session>, notifier: Notifier, batch: usize) -> Self {
        Self {
            link,
            session,
            notifier,
            queues: Vec::new(),
            wake: Arc::default(),
            batch: batch.max(1),
            promote_at: Instant::now(),
            places_at: Instant::now(),
            holds_at: Instant::now(),
            to_hold: 0,
            // Not all workers at once.
            tidy_at: Instant::now() + jittered(TIDY),
            declared: None,
        }
    }

    /// Writes down what the code says of its kinds and queues, before the first claim.
    #[must_use]
    pub fn declaring(self, declared: Declared) -> Self {
        Self { declared: Some(declared), ..self }
    }

    /// Adds a queue of which `concurrency` jobs run at a time. No more than that are ever claimed, so none waits in here
    /// while another worker is idle.
    pub fn serve(&mut self, name: &str, concurrency: usize) -> Jobs {
        let (queue, out) = Queue::new(name, concurrency, &self.wake);
        self.queues.push(queue);
        self.session.set_places(name, concurrency, concurrency);
        out
    }

    /// Claims until the session stops. Database errors only slow it down.
    pub async fn run(mut self) {
        let mut hints = self.notifier.hints().subscribe();
        let stop = self.session.stop().clone();
        let mut retry = POLL.0;
        while !stop.is_cancelled() {
            let stopped = async {
                stop.cancelled().await;
                tokio::time::sleep(LAST_ANSWER).await;
            };
            let round = tokio::select! {
                round = self.round() => round,
                () = stopped => break,
            };
            match round {
                Ok(()) => retry = POLL.0,
                Err(error) => {
                    // A claim whose answer got lost may have taken effect: the audit finds those jobs and hands them back.
                    tracing::warn!(%error, "claiming waits for the database");
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = tokio::time::sleep(jittered(retry)) => {}
                    }
                    retry = (retry * 2).min(POLL.1);
                    continue;
                }
            }
            let next = self.next();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.wake.notified() => {}
                hint = hints.recv() => self.hinted(hint, &mut hints),
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    async fn round(&mut self) -> Result<(), LinkError> {
        if let Some(declared) = self.declared.clone() {
            let worker = self.session.id();
            self.link
                .run(LIMIT, |mut conn| async move {
                    let done = async {
                        declare(&mut conn, &declared).await?;
                        know(&mut conn, worker, &declared.kinds).await
                    }
                    .await;
                    (conn, done)
                })
                .await?;
            self.declared = None;
        }
        if Instant::now() >= self.places_at {
            self.resize().await?;
        }
        let mut failed = Ok(());
        for index in 0..self.queues.len() {
            if !self.session.claims() {
                break;
            }
            if let Some((limit, due)) = self.queues[index].wants(self.batch)
                && due <= Instant::now()
            {
                match self.claim(index, limit).await {
                    Ok(()) => {}
                    // The database answers: what is wrong with one queue must not stop the others.
                    Err(error @ LinkError::Query(_)) => failed = Err(error),
                    Err(error) => return Err(error),
                }
            }
        }
        self.upkeep().await?;
        failed
    }

    async fn claim(&mut self, index: usize, limit: usize) -> Result<(), LinkError> {
        let name = Arc::clone(&self.queues[index].name);
        let worker = self.session.id();
        let asked = Instant::now();
        let after = self.queues[index].asks(asked);
        let over = self.session.take_ended();
        #[cfg(feature = "fail-points")]
        if !over.is_empty() {
            let _ = crate::fail_point::strike("claim.rows_over").await;
        }
        let rows = over.clone();
        let claimed = self
            .link
            .run(LIMIT, |mut conn| async move {
                let ask = Ask { queue: &name, worker, limit, after, over: &rows };
                let claimed = claims(&mut conn, &ask).await;
                (conn, claimed)
            })
            .await;
        let claims = match claimed {
            Ok(claims) => claims,
            Err(error) => {
                self.session.give_back_ended(over);
                return Err(error);
            }
        };
        #[cfg(feature = "fail-points")]
        if !claims.jobs.is_empty() {
            let _ = crate::fail_point::strike(&format!("claim.taken.{}", self.queues[index].name)).await;
        }
        let queue = &mut self.queues[index];
        let found = claims.jobs.len();
        queue.claimed(&claims, limit, asked, after);
        let looked = queue.looked.elapsed();
        let slow = asked.elapsed() > SLOW && looked > LOOK || found < limit && looked > PROMOTE;
        queue.send(claims.jobs, &self.session);
        if slow { self.hold(index, true).await } else { Ok(()) }
    }

    fn due_now(&mut self, name: &str) {
        for queue in self.queues.iter_mut().filter(|queue| *queue.name == *name) {
            queue.due = Instant::now();
            queue.pause = POLL.0;
        }
    }

    fn hinted(
        &mut self,
        hint: Result<String, broadcast::error::RecvError>,
        hints: &mut broadcast::Receiver<String>,
    ) {
        let mut hint = hint.map_err(|_| ());
        loop {
            match hint {
                Ok(queue) => self.due_now(&queue),
                // Lagging: any queue may be meant.
                Err(()) => self.queues.iter_mut().for_each(|queue| queue.due = Instant::now()),
            }
            match hints.try_recv() {
                Ok(queue) => hint = Ok(queue),
                Err(broadcast::error::TryRecvError::Lagged(_)) => hint = Err(()),
                Err(_) => return,
            }
        }
    }

    /// When there is something to do without being woken. While the worker is quiet only what it does for others; it is
    /// looked at often enough to notice the end of that.
    fn next(&self) -> Instant {
        let claims = self.session.claims();
        let queues = self.queues.iter().filter(|_| claims);
        queues
            .filter_map(|queue| queue.wants(self.batch))
            .map(|(_, due)| due)
            .fold(self.upkeep_at().min(self.places_at), Instant::min)
    }
}

/// Somewhere between half of it and all of it, so that workers do not poll in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}
