//! The task that claims for all queues of a worker, and queues what is due.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicIsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, broadcast, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    claim::{Ask, Claimed, Claims, Turn, claims},
    holds::{hold_followers, hold_kinds, let_go, tidy},
    link::{Link, LinkError},
    notify::Notifier,
    promote::promote,
    session::Session,
    unknown::know,
};
use crate::control::{Declared, Places as Override, declare, places};

/// How often a queue is looked at: at once after work was found, ever more seldom while there is none.
const POLL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Least time between claims of a few jobs from a queue: a claim costs Postgres a third of a millisecond whether it finds
/// one job or twenty, so under load they are better collected.
const GAP: Duration = Duration::from_millis(4);
/// How often scheduled jobs are looked for that nobody in this process knows of.
const PROMOTE: Duration = Duration::from_millis(250);
/// How often to look whether operators want another number of jobs at a time.
const PLACES: Duration = Duration::from_millis(500);
/// How often to put right what the quick ways leave.
const TIDY: Duration = Duration::from_secs(5);
/// A claim that takes longer has probably stepped over many jobs of a busy partition key.
const SLOW: Duration = Duration::from_millis(5);
/// On a busy machine every claim is slow, and then looking for followers costs as much as claiming.
const LOOK: Duration = Duration::from_millis(200);
/// A claim from the front of a queue steps over all that runs, and over what has ended while somebody holds an old snapshot
/// (0.25 microseconds a row). So most go on where the last one ended, and those from the front, which find what is urgent or
/// was committed late, take at most a tenth of the time.
const FRONT: u32 = 10;
/// However long they take.
const FRONT_MOST: Duration = Duration::from_millis(500);
/// Rounds of holding in a row, of 2,000 jobs each: then others have their turn.
const ROUNDS: usize = 10;
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
    /// Below zero when there are fewer places than jobs that run.
    free: AtomicIsize,
    /// The last claim took all it asked for: there is probably more.
    more: AtomicBool,
    /// A limit or a partition key may have kept the last claim short, and a job of ours that ends makes room.
    limited: AtomicBool,
    /// One has ended since.
    ended: AtomicBool,
    wake: Arc<Notify>,
}

/// One of a queue's places.
pub struct Slot(Arc<Places>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::AcqRel);
        let limited = self.0.limited.load(Ordering::Acquire);
        if limited {
            self.0.ended.store(true, Ordering::Release);
        }
        if limited || self.0.more.load(Ordering::Acquire) {
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
    /// As the worker was started.
    configured: usize,
    concurrency: usize,
    /// When followers were last looked for.
    looked: Instant,
    /// How far the last claim came.
    reached: Option<Turn>,
    /// When to claim from the front again.
    front_at: Instant,
}

impl Queue {
    /// Changes the number of jobs that run at a time. Those that run go on: with fewer places, none is free until enough
    /// have ended.
    fn resize(&mut self, concurrency: usize) {
        if concurrency == self.concurrency {
            return;
        }
        tracing::info!(queue = %self.name, from = self.concurrency, to = concurrency, "jobs at a time");
        self.places.free.fetch_add(signed(concurrency) - signed(self.concurrency), Ordering::AcqRel);
        self.concurrency = concurrency;
        self.due = Instant::now();
    }

    /// Jobs to claim and when, if there is a place.
    fn wants(&self, batch: usize) -> Option<(usize, Instant)> {
        let free = usize::try_from(self.places.free.load(Ordering::Acquire)).unwrap_or(0).min(batch);
        let few = free * 2 < batch.min(self.concurrency);
        let due = if self.places.ended.load(Ordering::Acquire) { self.claimed } else { self.due };
        (free > 0).then(|| (free, if few { due.max(self.claimed + GAP) } else { due }))
    }
}

fn signed(places: usize) -> isize {
    isize::try_from(places).unwrap_or(isize::MAX)
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
    places_at: Instant,
    holds_at: Instant,
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
        let places = Places {
            free: AtomicIsize::new(signed(concurrency)),
            more: AtomicBool::new(false),
            limited: AtomicBool::new(false),
            ended: AtomicBool::new(false),
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
            configured: concurrency,
            concurrency,
            looked: now,
            reached: None,
            front_at: now,
        };
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
        if Instant::now() >= self.promote_at {
            self.promote().await?;
        }
        if Instant::now() >= self.holds_at {
            self.holds().await?;
        }
        if Instant::now() >= self.tidy_at {
            self.tidy_at = Instant::now() + TIDY;
            self.link
                .run(LIMIT, |mut conn| async move {
                    let done = tidy(&mut conn).await;
                    (conn, done)
                })
                .await?;
        }
        for index in 0..self.queues.len() {
            if self.session.stop().is_cancelled() || self.session.is_quiet() {
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
        let asked = Instant::now();
        self.queues[index].places.ended.store(false, Ordering::Release);
        let after = self.queues[index].reached.filter(|_| asked < self.queues[index].front_at);
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
        let Claims { jobs: claimed, again, reached } = match claimed {
            Ok(claims) => claims,
            Err(error) => {
                self.session.give_back_ended(over);
                return Err(error);
            }
        };
        #[cfg(feature = "fail-points")]
        if !claimed.is_empty() {
            let _ = crate::fail_point::strike(&format!("claim.taken.{}", self.queues[index].name)).await;
        }
        let queue = &mut self.queues[index];
        let found = claimed.len();
        queue.places.free.fetch_sub(signed(found), Ordering::AcqRel);
        queue.places.more.store(found == limit, Ordering::Release);
        let keyed = claimed.iter().any(|job| job.partition_key.is_some());
        queue.places.limited.store(again.is_some() || keyed, Ordering::Release);
        queue.claimed = Instant::now();
        queue.due = queue.claimed;
        if after.is_none() {
            queue.front_at = queue.claimed + (asked.elapsed() * FRONT).min(FRONT_MOST);
            queue.reached = reached;
        } else if reached.is_some() {
            queue.reached = reached;
        }
        if found > 0 {
            queue.pause = POLL.0;
        } else if after.is_none() {
            queue.pause = (queue.pause * 2).min(POLL.1);
        }
        if found < limit {
            queue.due += again.map_or_else(|| jittered(queue.pause), |again| again.min(POLL.1));
            if after.is_some() {
                queue.due = queue.due.min(queue.front_at);
            }
        }
        let looked = queue.looked.elapsed();
        let slow = asked.elapsed() > SLOW && looked > LOOK || found < limit && looked > PROMOTE;
        let tokens = self.session.hold(&claimed);
        for (job, cancel) in claimed.into_iter().zip(tokens) {
            let slot = Some(Slot(Arc::clone(&queue.places)));
            let fetched = Fetched { job, session: Arc::clone(&self.session), cancel, slot };
            // The receiver outlives the session's stop; what comes after that is found by the audit of the next life.
            let _ = queue.jobs.send(fetched);
        }
        if slow { self.hold(index, true).await } else { Ok(()) }
    }

    /// Takes jobs that cannot run out of the next claims' way.
    async fn hold(&mut self, index: usize, followers: bool) -> Result<(), LinkError> {
        let name = Arc::clone(&self.queues[index].name);
        if followers {
            self.queues[index].looked = Instant::now();
        }
        self.link
            .run(LIMIT, |mut conn| async move {
                let held = async {
                    for _ in 0..ROUNDS {
                        let mut held = hold_kinds(&mut conn, &name).await?;
                        if followers {
                            held += hold_followers(&mut conn, &name).await?;
                        }
                        if held < 500 {
                            break;
                        }
                    }
                    Ok(())
                }
                .await;
                (conn, held)
            })
            .await
    }

    /// Takes up how many jobs operators want to run at a time.
    async fn resize(&mut self) -> Result<(), LinkError> {
        self.places_at = Instant::now() + PLACES;
        let wanted: Vec<Override> = self
            .link
            .run(LIMIT, |mut conn| async move {
                let wanted = places(&mut conn).await;
                (conn, wanted)
            })
            .await?;
        let worker = self.session.id();
        for queue in &mut self.queues {
            let of = |id| wanted.iter().find(|row| row.queue == *queue.name && row.worker_id == id);
            let places = of(Some(worker)).or_else(|| of(None)).map(|row| row.places);
            let configured = queue.configured;
            queue.resize(places.map_or(configured, |places| usize::try_from(places).unwrap_or(0)));
            self.session.set_places(&queue.name, configured, queue.concurrency);
        }
        Ok(())
    }

    /// Lets go what is held without a reason any more, and holds what must wait now.
    async fn holds(&mut self) -> Result<(), LinkError> {
        let gone = self
            .link
            .run(LIMIT, |mut conn| async move {
                let gone = let_go(&mut conn).await;
                (conn, gone)
            })
            .await?;
        self.holds_at = Instant::now() + if gone.more { Duration::ZERO } else { PROMOTE };
        for queue in gone.queues {
            self.due_now(&queue);
            self.notifier.hint(&queue);
        }
        for index in 0..self.queues.len() {
            self.hold(index, false).await?;
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

    /// When there is something to do without being woken. While the worker is quiet only what it does for others; it is
    /// looked at often enough to notice the end of that.
    fn next(&self) -> Instant {
        let quiet = self.session.is_quiet();
        let queues = self.queues.iter().filter(|_| !quiet);
        queues
            .filter_map(|queue| queue.wants(self.batch))
            .map(|(_, due)| due)
            .fold(self.promote_at.min(self.places_at).min(self.holds_at), Instant::min)
    }
}

/// Somewhere between half of it and all of it, so that workers do not poll in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}
