//! The task that claims for all queues of a worker, and queues what is due.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, broadcast, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    claim::{Claimed, claim},
    link::{Link, LinkError},
    notify::Notifier,
    promote::promote,
    session::Session,
};

/// How often a queue is looked at: at once after work was found, ever more seldom while there is none.
const POLL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Least time between claims of a few jobs from a queue: a claim costs Postgres a third of a millisecond whether it finds
/// one job or twenty, so under load they are better collected.
const GAP: Duration = Duration::from_millis(4);
/// How often scheduled jobs are looked for that nobody in this process knows of.
const PROMOTE: Duration = Duration::from_millis(250);
/// How long a statement may take before the connection is given up.
const LIMIT: Duration = Duration::from_secs(15);

/// How long a stop waits for the answer of a claim. Without the answer its jobs are handed back by the last audit.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// A claimed job on its way to its handler.
pub struct Fetched {
    /// The job.
    pub job: Claimed,
    /// The life of the worker that claimed it.
    pub session: Arc<Session>,
    /// The token for its handler.
    pub cancel: CancellationToken,
    /// Its place among the jobs that run at a time, free again when this is dropped; taken by who frees it.
    pub slot: Option<Slot>,
}

struct Places {
    free: AtomicUsize,
    /// The last claim took all it asked for: there is probably more.
    more: AtomicBool,
    wake: Arc<Notify>,
}

/// One of a queue's places.
pub struct Slot(Arc<Places>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::AcqRel);
        if self.0.more.load(Ordering::Acquire) {
            self.0.wake.notify_one();
        }
    }
}

struct Queue {
    name: Arc<str>,
    places: Arc<Places>,
    jobs: mpsc::UnboundedSender<Fetched>,
    due: Instant,
    pause: Duration,
    claimed: Instant,
    concurrency: usize,
}

impl Queue {
    /// Jobs to claim and when, if there is a place.
    fn wants(&self, batch: usize) -> Option<(usize, Instant)> {
        let free = self.places.free.load(Ordering::Acquire).min(batch);
        let few = free * 2 < batch.min(self.concurrency);
        (free > 0).then(|| (free, if few { self.due.max(self.claimed + GAP) } else { self.due }))
    }
}

/// Where a queue's claimed jobs come out.
pub type Jobs = mpsc::UnboundedReceiver<Fetched>;

/// Claims for all queues of a worker over one connection.
pub struct Fetcher {
    link: Link,
    session: Arc<Session>,
    notifier: Notifier,
    queues: Vec<Queue>,
    wake: Arc<Notify>,
    batch: usize,
    promote_at: Instant,
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
        }
    }

    /// Adds a queue of which `concurrency` jobs run at a time. No more than that are ever claimed, so none waits in here
    /// while another worker is idle.
    pub fn serve(&mut self, name: &str, concurrency: usize) -> Jobs {
        let places = Places {
            free: AtomicUsize::new(concurrency),
            more: AtomicBool::new(false),
            wake: Arc::clone(&self.wake),
        };
        let now = Instant::now();
        // Bounded by the places.
        let (jobs, out) = mpsc::unbounded_channel();
        let queue = Queue {
            name: name.into(),
            places: Arc::new(places),
            jobs,
            due: now,
            pause: POLL.0,
            claimed: now - GAP,
            concurrency,
        };
        self.queues.push(queue);
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
        if Instant::now() >= self.promote_at {
            self.promote().await?;
        }
        for index in 0..self.queues.len() {
            if self.session.stop().is_cancelled() {
                return Ok(());
            }
            if let Some((limit, due)) = self.queues[index].wants(self.batch)
                && due <= Instant::now()
            {
                self.claim(index, limit).await?;
            }
        }
        Ok(())
    }

    async fn claim(&mut self, index: usize, limit: usize) -> Result<(), LinkError> {
        let name = Arc::clone(&self.queues[index].name);
        let worker = self.session.id();
        let claimed = self
            .link
            .run(LIMIT, |mut conn| async move {
                let claimed = claim(&mut conn, &name, worker, limit).await;
                (conn, claimed)
            })
            .await?;
        let queue = &mut self.queues[index];
        let found = claimed.len();
        queue.places.free.fetch_sub(found, Ordering::AcqRel);
        queue.places.more.store(found == limit, Ordering::Release);
        queue.pause = if found > 0 { POLL.0 } else { (queue.pause * 2).min(POLL.1) };
        queue.claimed = Instant::now();
        queue.due = queue.claimed;
        if found < limit {
            queue.due += jittered(queue.pause);
        }
        for job in claimed {
            let cancel = self.session.hold(job.id, job.claim);
            let slot = Some(Slot(Arc::clone(&queue.places)));
            let fetched = Fetched { job, session: Arc::clone(&self.session), cancel, slot };
            // The receiver outlives the session's stop; what comes after that is found by the audit of the next life.
            let _ = queue.jobs.send(fetched);
        }
        Ok(())
    }

    async fn promote(&mut self) -> Result<(), LinkError> {
        let promoted = self
            .link
            .run(LIMIT, |mut conn| async move {
                let promoted = promote(&mut conn).await;
                (conn, promoted)
            })
            .await?;
        let pause = promoted.next_in.map_or(PROMOTE, |next| next.min(PROMOTE));
        // A job due in 10 ms gets its own round then; without a floor a stream of them would be one round each.
        self.promote_at = Instant::now() + pause.max(Duration::from_millis(2));
        for queue in promoted.queues {
            self.due_now(&queue);
            self.notifier.hint(&queue);
        }
        Ok(())
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

    /// When there is something to do without being woken.
    fn next(&self) -> Instant {
        self.queues
            .iter()
            .filter_map(|queue| queue.wants(self.batch))
            .map(|(_, due)| due)
            .fold(self.promote_at, Instant::min)
    }
}

/// Somewhere between half of it and all of it, so that workers do not poll in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}
