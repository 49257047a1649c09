//! A queue as its claimer sees it: how many of its jobs may run, and when to look for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicIsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use super::{
    super::{
        claim::{Claimed, Claims, Turn},
        in_hand::InHand,
        session::Session,
    },
    jittered,
};

/// How often a queue is looked at: at once after work was found, ever more seldom while there is none.
pub(super) const POLL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Least time between claims of a few jobs from a queue: a claim costs Postgres a third of a millisecond whether it finds
/// one job or twenty, so under load they are better collected.
const GAP: Duration = Duration::from_millis(4);
/// A claim from the front of a queue steps over all that runs, and over what has ended while somebody holds an old snapshot
/// (0.25 microseconds a row). So most go on where the last one ended, and those from the front, which find what is urgent or
/// was committed late, take at most a tenth of the time.
const FRONT: u32 = 10;
/// However long they take.
const FRONT_MOST: Duration = Duration::from_millis(500);

/// The jobs of one claim on their way to their handlers.
pub struct Batch {
    /// At least one.
    pub jobs: Vec<Fetched>,
    /// The life of the worker that claimed them.
    pub session: Arc<Session>,
}

/// A claimed job.
pub struct Fetched {
    /// The job.
    pub job: Claimed,
    /// What is shared of it while it is held.
    pub hand: Arc<InHand>,
    /// Its place among the jobs that run at a time.
    pub slot: Slot,
}

/// The places of a queue's jobs that run at a time.
pub(super) struct Places {
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

/// One of a queue's places, free again when this is dropped.
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

/// One of the queues that a worker serves.
pub(super) struct Queue {
    pub name: Arc<str>,
    places: Arc<Places>,
    jobs: mpsc::UnboundedSender<Batch>,
    pub due: Instant,
    pub pause: Duration,
    claimed: Instant,
    /// As the worker was started.
    pub configured: usize,
    pub concurrency: usize,
    /// When followers were last looked for.
    pub looked: Instant,
    /// How far the last claim came.
    reached: Option<Turn>,
    /// When to claim from the front again.
    front_at: Instant,
}

impl Queue {
    /// One that is due now; the second is where its jobs come out.
    pub fn new(name: &str, concurrency: usize, wake: &Arc<Notify>) -> (Self, mpsc::UnboundedReceiver<Batch>) {
        let places = Places {
            free: AtomicIsize::new(signed(concurrency)),
            more: AtomicBool::new(false),
            limited: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            wake: Arc::clone(wake),
        };
        let now = Instant::now();
        // Bounded by the places.
        let (jobs, out) = mpsc::unbounded_channel();
        let queue = Self {
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
        (queue, out)
    }

    /// Changes the number of jobs that run at a time. Those that run go on: with fewer places, none is free until enough
    /// have ended.
    pub fn resize(&mut self, concurrency: usize) {
        if concurrency == self.concurrency {
            return;
        }
        tracing::info!(queue = %self.name, from = self.concurrency, to = concurrency, "jobs at a time");
        self.places.free.fetch_add(signed(concurrency) - signed(self.concurrency), Ordering::AcqRel);
        self.concurrency = concurrency;
        self.due = Instant::now();
    }

    /// Jobs to claim and when, if there is a place.
    pub fn wants(&self, batch: usize) -> Option<(usize, Instant)> {
        let free = usize::try_from(self.places.free.load(Ordering::Acquire)).unwrap_or(0).min(batch);
        let few = free * 2 < batch.min(self.concurrency);
        let due = if self.places.ended.load(Ordering::Acquire) { self.claimed } else { self.due };
        (free > 0).then(|| (free, if few { due.max(self.claimed + GAP) } else { due }))
    }

    /// A claim begins; it is to look behind this place only, if there is one.
    pub fn asks(&self, at: Instant) -> Option<Turn> {
        self.places.ended.store(false, Ordering::Release);
        self.reached.filter(|_| at < self.front_at)
    }

    /// Takes note of what a claim came to that was asked for at most `limit` jobs, behind `after`.
    pub fn claimed(&mut self, claims: &Claims, limit: usize, asked: Instant, after: Option<Turn>) {
        let found = claims.jobs.len();
        self.places.free.fetch_sub(signed(found), Ordering::AcqRel);
        self.places.more.store(found == limit, Ordering::Release);
        let keyed = claims.jobs.iter().any(|job| job.partition_key.is_some());
        self.places.limited.store(claims.again.is_some() || keyed, Ordering::Release);
        self.claimed = Instant::now();
        self.due = self.claimed;
        if after.is_none() {
            self.front_at = self.claimed + (asked.elapsed() * FRONT).min(FRONT_MOST);
            self.reached = claims.reached;
        } else if claims.reached.is_some() {
            self.reached = claims.reached;
        }
        if found > 0 {
            self.pause = POLL.0;
        } else if after.is_none() {
            self.pause = (self.pause * 2).min(POLL.1);
        }
        if found < limit {
            self.due += claims.again.map_or_else(|| jittered(self.pause), |again| again.min(POLL.1));
            if after.is_some() {
                self.due = self.due.min(self.front_at);
            }
        }
    }

    /// Sends the jobs of a claim to their handlers; [`claimed`](Self::claimed) has taken their places.
    pub fn send(&self, jobs: Vec<Claimed>, session: &Arc<Session>) {
        if jobs.is_empty() {
            return;
        }
        let held = session.hold(&jobs);
        let jobs = jobs.into_iter().zip(held);
        let jobs = jobs.map(|(job, hand)| Fetched { job, hand, slot: Slot(Arc::clone(&self.places)) });
        // The receiver outlives the session's stop; what comes after that is found by the audit of the next life.
        let _ = self.jobs.send(Batch { jobs: jobs.collect(), session: Arc::clone(session) });
    }
}

fn signed(places: usize) -> isize {
    isize::try_from(places).unwrap_or(isize::MAX)
}
