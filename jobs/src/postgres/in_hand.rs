//! The jobs that a worker holds, from their claim until their end is durable.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::claim::Claimed;

/// Somebody wants a job cancelled. Apart from the handler's token, because that may have been cancelled before, for another
/// reason: by a heartbeat that was away.
#[derive(Debug, Default)]
pub struct Asked {
    asked: AtomicBool,
    woken: Notify,
}

impl Asked {
    /// Whether somebody does.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Comes back when somebody does.
    pub async fn asked(&self) {
        let mut woken = std::pin::pin!(self.woken.notified());
        // Registered before the look, so that a wish between the two wakes it.
        woken.as_mut().enable();
        if !self.is_asked() {
            woken.await;
        }
    }

    fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.woken.notify_waiters();
    }
}

/// What those who look after a job share while it is held. One allocation for all of it, and no lock: a worker that does
/// 60,000 jobs a second feels each.
#[derive(Debug)]
pub struct InHand {
    /// The job.
    pub id: Uuid,
    /// Its fencing token.
    pub claim: i64,
    /// The claim that it came with.
    batch: i64,
    /// Whether this is the run of its compensation.
    undo: bool,
    /// The handler's token.
    pub cancel: CancellationToken,
    /// Whether its job is wanted.
    pub asked: Asked,
    /// Its kind, and when its handler must have ended at the latest; once it has begun.
    due: OnceLock<(&'static str, Instant)>,
    /// Its handler has ended.
    ended: AtomicBool,
}

impl InHand {
    fn new(job: &Claimed) -> Self {
        Self {
            id: job.id,
            claim: job.claim,
            batch: job.claim_batch,
            undo: job.undo,
            cancel: CancellationToken::new(),
            asked: Asked::default(),
            due: OnceLock::new(),
            ended: AtomicBool::new(false),
        }
    }

    /// Takes note that the handler begins, which must have ended by `due`.
    pub(crate) fn begun(&self, kind: &'static str, due: Instant) {
        let _ = self.due.set((kind, due));
    }

    /// Takes note that the handler has ended: that its end cannot be stored yet is not its fault.
    pub(crate) fn ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    fn has_begun(&self) -> bool {
        self.due.get().is_some()
    }

    fn is_handled(&self) -> bool {
        self.has_begun() && !self.ended.load(Ordering::Acquire)
    }

    fn overdue(&self, now: Instant) -> Option<(&'static str, Duration)> {
        let (kind, due) = *self.due.get()?;
        (due < now && !self.ended.load(Ordering::Acquire)).then(|| (kind, now - due))
    }
}

struct Held {
    job: Arc<InHand>,
    /// An audit has seen it without a row that is ours.
    suspect: bool,
    /// That it is overdue has been said.
    told: bool,
}

/// Jobs that should have ended.
#[derive(Debug, Default)]
pub(crate) struct Overdue {
    /// How many.
    pub jobs: usize,
    /// Those that were not among them before: id, kind and for how long.
    pub fresh: Vec<(Uuid, &'static str, Duration)>,
}

/// All that is held, and the claims it came with.
#[derive(Default)]
pub(super) struct Hand(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    jobs: HashMap<Uuid, Held>,
    /// The claims, each with the number of its jobs that have not ended.
    open: HashMap<i64, usize>,
    /// Those whose jobs have all ended.
    over: Vec<i64>,
}

impl Inside {
    fn end(&mut self, batch: i64) {
        if let Entry::Occupied(mut open) = self.open.entry(batch) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
                self.over.push(batch);
            }
        }
    }
}

impl Hand {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Nothing between lock and unlock can leave the maps half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them before the first one runs: the row of a claim goes when all of its jobs have ended.
    pub fn hold(&self, claimed: &[Claimed]) -> Vec<Arc<InHand>> {
        let jobs: Vec<_> = claimed.iter().map(|job| Arc::new(InHand::new(job))).collect();
        let mut inside = self.inside();
        for job in &jobs {
            let held = Held { job: Arc::clone(job), suspect: false, told: false };
            if let Some(before) = inside.jobs.insert(job.id, held) {
                inside.end(before.job.batch);
            }
            *inside.open.entry(job.batch).or_default() += 1;
        }
        jobs
    }

    /// Forgets jobs whose end is durable.
    pub fn release<'a>(&self, jobs: impl IntoIterator<Item = &'a InHand>) {
        let mut inside = self.inside();
        for job in jobs {
            if let Entry::Occupied(held) = inside.jobs.entry(job.id)
                && held.get().job.claim == job.claim
            {
                held.remove();
                inside.end(job.batch);
            }
        }
    }

    pub fn cancel(&self) {
        // Outside of the lock: whoever is woken may want it.
        let jobs: Vec<_> = self.inside().jobs.values().map(|held| Arc::clone(&held.job)).collect();
        for job in jobs {
            job.cancel.cancel();
        }
    }

    pub fn ask(&self, ids: &[Uuid]) {
        if ids.is_empty() {
            return;
        }
        let inside = self.inside();
        for held in ids.iter().filter_map(|id| inside.jobs.get(id)).filter(|held| !held.job.undo) {
            held.job.asked.ask();
            held.job.cancel.cancel();
        }
    }

    pub fn overdue(&self, now: Instant) -> Overdue {
        let mut overdue = Overdue::default();
        for (id, held) in &mut self.inside().jobs {
            if let Some((kind, by)) = held.job.overdue(now) {
                overdue.jobs += 1;
                if !std::mem::replace(&mut held.told, true) {
                    overdue.fresh.push((*id, kind, by));
                }
            }
        }
        overdue
    }

    pub fn begun(&self) -> HashSet<Uuid> {
        let inside = self.inside();
        inside.jobs.values().filter(|held| held.job.has_begun()).map(|held| held.job.id).collect()
    }

    pub fn handled(&self) -> usize {
        self.inside().jobs.values().filter(|held| held.job.is_handled()).count()
    }

    pub fn len(&self) -> usize {
        self.inside().jobs.len()
    }

    pub fn take_over(&self) -> Vec<i64> {
        std::mem::take(&mut self.inside().over)
    }

    pub fn give_back_over(&self, batches: Vec<i64>) {
        self.inside().over.extend(batches);
    }

    pub fn open(&self) -> Vec<i64> {
        self.inside().open.keys().copied().collect()
    }

    pub fn reconcile(&self, rows: &HashMap<Uuid, i64>) -> Vec<(Uuid, i64)> {
        let mut inside = self.inside();
        for (id, held) in &mut inside.jobs {
            let ours = rows.get(id) == Some(&held.job.claim);
            if !ours && held.suspect {
                held.job.cancel.cancel();
            }
            held.suspect = !ours;
        }
        rows.iter()
            .filter(|(id, claim)| inside.jobs.get(id).is_none_or(|held| held.job.claim < **claim))
            .map(|(id, claim)| (*id, *claim))
            .collect()
    }
}
