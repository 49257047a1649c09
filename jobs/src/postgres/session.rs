//! A worker's life under one id, from its row in `workers` to the loss or return of it.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::claim::Claimed;

/// What a job of ours needs while it runs.
struct Held {
    claim: i64,
    /// The claim that it came with.
    batch: i64,
    /// Whether this is the run of its compensation.
    undo: bool,
    cancel: CancellationToken,
    /// Cancelled when somebody wants the job cancelled. Of its own, because the handler's token may have been cancelled before,
    /// for another reason: by a heartbeat that was away.
    asked: CancellationToken,
    /// An audit has seen it without a row that is ours.
    suspect: bool,
    /// Its kind, and when its handler must have ended at the latest; once it has begun.
    due: Option<(&'static str, Instant)>,
    /// That it did not has been said.
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

/// The claims of a worker, each with the number of its jobs that have not ended.
#[derive(Default)]
struct Batches {
    open: HashMap<i64, usize>,
    over: Vec<i64>,
}

impl Batches {
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

/// One life of a worker. When others take it for dead, the process goes on with a new one.
pub struct Session {
    id: Uuid,
    jobs: Mutex<HashMap<Uuid, Held>>,
    batches: Mutex<Batches>,
    handlers: Mutex<CancellationToken>,
    stop: CancellationToken,
    abandon: CancellationToken,
    lost: CancellationToken,
    quiet: watch::Sender<Option<String>>,
    places: Mutex<Places>,
}

/// How many jobs of each queue run at a time: as started, and now.
#[derive(Default)]
struct Places {
    queues: BTreeMap<String, (usize, usize)>,
    /// Whether the worker's row has them as they are.
    told: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing between lock and unlock can leave these maps half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// A life with a new id. `quiet` is the process': whoever was asked to be quiet stays so in its next life.
    pub(crate) fn new(quiet: watch::Sender<Option<String>>) -> Self {
        Self {
            quiet,
            places: Mutex::default(),
            id: waybill_schema::new_id(),
            jobs: Mutex::default(),
            batches: Mutex::default(),
            handlers: Mutex::default(),
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
            lost: CancellationToken::new(),
        }
    }

    /// The id in `workers` and in the jobs it holds.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Cancelled when nothing more may be claimed: shutdown, or the session is lost.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Cancelled when running handlers are dropped, having ignored their own token.
    pub fn abandon(&self) -> &CancellationToken {
        &self.abandon
    }

    /// Cancelled when the row is gone: others have taken the jobs.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Who wants nothing more to be claimed for now, if anybody does.
    pub(crate) fn quiet(&self) -> Option<String> {
        self.quiet.borrow().clone()
    }

    /// Whether nothing more is to be claimed for now. What runs goes on.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet.borrow().is_some()
    }

    /// Takes an operator's wish up.
    pub(crate) fn set_quiet(&self, wish: Option<String>) {
        let changed = self.quiet.send_if_modified(|quiet| {
            let changed = quiet.is_some() != wish.is_some();
            quiet.clone_from(&wish);
            changed
        });
        if changed {
            tracing::info!(worker = %self.id, by = wish, "asked to be quiet, or no longer");
        }
    }

    /// Takes note of how many jobs of a queue run at a time, for the heartbeat to tell.
    pub(crate) fn set_places(&self, queue: &str, configured: usize, now: usize) {
        let mut places = lock(&self.places);
        if places.queues.insert(queue.to_owned(), (configured, now)) != Some((configured, now)) {
            places.told = false;
        }
    }

    /// The places, if the worker's row does not have them yet.
    pub(crate) fn untold_places(&self) -> Option<Value> {
        let mut places = lock(&self.places);
        if std::mem::replace(&mut places.told, true) {
            return None;
        }
        let queues = places.queues.iter();
        let queues = queues.map(
            |(queue, (configured, now))| json!({ "queue": queue, "configured": configured, "now": now }),
        );
        Some(queues.collect())
    }

    /// What was taken to be told may not have been.
    pub(crate) fn tell_places_again(&self) {
        lock(&self.places).told = false;
    }

    /// Asks the running handlers to stop. Those that start later are not asked.
    pub(crate) fn cancel_handlers(&self) {
        let mut current = lock(&self.handlers);
        current.cancel();
        *current = CancellationToken::new();
    }

    /// Ends the session: others have its jobs.
    pub(crate) fn declare_lost(&self) {
        self.stop.cancel();
        self.lost.cancel();
        self.cancel_handlers();
        self.abandon.cancel();
    }

    /// Takes note of claimed jobs; answers with the tokens that their handlers get, in the same order.
    ///
    /// All of them before the first one runs: the row of a claim goes when all of its jobs have ended.
    pub(crate) fn hold(&self, claimed: &[Claimed]) -> Vec<CancellationToken> {
        let mut tokens = Vec::with_capacity(claimed.len());
        let handlers = lock(&self.handlers);
        let (mut jobs, mut batches) = (lock(&self.jobs), lock(&self.batches));
        for job in claimed {
            let cancel = handlers.child_token();
            let (claim, batch) = (job.claim, job.claim_batch);
            let held = Held {
                claim,
                batch,
                undo: job.undo,
                cancel: cancel.clone(),
                asked: CancellationToken::new(),
                suspect: false,
                due: None,
                told: false,
            };
            if let Some(before) = jobs.insert(job.id, held) {
                batches.end(before.batch);
            }
            *batches.open.entry(batch).or_default() += 1;
            tokens.push(cancel);
        }
        tokens
    }

    /// Claims whose jobs have all ended. Whoever takes them removes their rows, or gives them back.
    pub(crate) fn take_ended(&self) -> Vec<i64> {
        std::mem::take(&mut lock(&self.batches).over)
    }

    /// Gives back what [`Session::take_ended`] answered.
    pub(crate) fn give_back_ended(&self, batches: Vec<i64>) {
        lock(&self.batches).over.extend(batches);
    }

    /// Claims of which jobs have not ended.
    pub(crate) fn open_claims(&self) -> Vec<i64> {
        lock(&self.batches).open.keys().copied().collect()
    }

    /// Asks handlers to end because their jobs are not wanted any more; ids that are not ours are ignored. So are those that
    /// undo: it is the run before that was asked, and the word of it came late.
    pub(crate) fn ask(&self, ids: &[Uuid]) {
        if ids.is_empty() {
            return;
        }
        let mut jobs = lock(&self.jobs);
        for id in ids {
            if let Some(held) = jobs.get_mut(id).filter(|held| !held.undo) {
                held.asked.cancel();
                held.cancel.cancel();
            }
        }
    }

    /// Cancelled when this claim is asked to end; never, if it is not ours any more.
    pub(crate) fn asked(&self, id: Uuid, claim: i64) -> CancellationToken {
        let jobs = lock(&self.jobs);
        let held = jobs.get(&id).filter(|held| held.claim == claim);
        held.map(|held| held.asked.clone()).unwrap_or_default()
    }

    /// Takes note that a handler begins, which must have ended by `due`.
    pub(crate) fn begun(&self, id: Uuid, claim: i64, kind: &'static str, due: Instant) {
        if let Some(held) = lock(&self.jobs).get_mut(&id).filter(|held| held.claim == claim) {
            held.due = Some((kind, due));
        }
    }

    /// Takes note that a handler has ended: that its end cannot be stored yet is not its fault.
    pub(crate) fn ended(&self, id: Uuid, claim: i64) {
        if let Some(held) = lock(&self.jobs).get_mut(&id).filter(|held| held.claim == claim) {
            held.due = None;
        }
    }

    /// Whose handlers should have ended by `now`.
    pub(crate) fn overdue(&self, now: Instant) -> Overdue {
        let mut overdue = Overdue::default();
        for (id, held) in lock(&self.jobs).iter_mut() {
            if let Some((kind, due)) = held.due.filter(|(_, due)| *due < now) {
                overdue.jobs += 1;
                if !std::mem::replace(&mut held.told, true) {
                    overdue.fresh.push((*id, kind, now - due));
                }
            }
        }
        overdue
    }

    /// Forgets a job whose end is durable.
    pub(crate) fn release(&self, id: Uuid, claim: i64) {
        let mut jobs = lock(&self.jobs);
        if jobs.get(&id).is_some_and(|held| held.claim == claim)
            && let Some(held) = jobs.remove(&id)
        {
            lock(&self.batches).end(held.batch);
        }
    }

    /// Jobs in hand.
    pub fn in_hand(&self) -> usize {
        lock(&self.jobs).len()
    }

    /// Compares what we hold with what the database says we hold, and answers with what only the database knows.
    ///
    /// Jobs that are no longer ours (their rows were changed by an operator, or given to another worker) get their token
    /// cancelled, once they were found so twice: a completion may be on its way.
    pub(crate) fn reconcile(&self, rows: &HashMap<Uuid, i64>) -> Vec<(Uuid, i64)> {
        let mut jobs = lock(&self.jobs);
        for (id, held) in jobs.iter_mut() {
            let ours = rows.get(id) == Some(&held.claim);
            if !ours && held.suspect {
                held.cancel.cancel();
            }
            held.suspect = !ours;
        }
        rows.iter()
            .filter(|(id, claim)| jobs.get(id).is_none_or(|held| held.claim < **claim))
            .map(|(id, claim)| (*id, *claim))
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use chrono::Utc;
    use serde_json::Value;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    use super::Session;
    use crate::postgres::{Claimed, Tid};

    fn claimed(id: Uuid, claim: i64, claim_batch: i64) -> Claimed {
        let now = Utc::now();
        Claimed {
            id,
            kind: "test.session".to_owned(),
            version: 1,
            priority: 0,
            run_at: now,
            claimed_at: now,
            attempt: 1,
            max_attempts: 1,
            snoozes: 0,
            claim,
            partition_key: None,
            correlation_id: None,
            traceparent: None,
            payload: Value::Null,
            created_at: now,
            flow_id: None,
            step: None,
            undo: claim == 2,
            limit_key: None,
            scheduled: None,
            claim_batch,
            place: Tid::UNKNOWN,
        }
    }

    pub(crate) fn hold(session: &Session, id: Uuid, claim: i64) -> CancellationToken {
        session.hold(&[claimed(id, claim, claim)]).remove(0)
    }

    /// The list of who was asked was read before the job was queued again, to be undone; it comes when it is.
    #[test]
    fn a_word_that_comes_late_does_not_end_the_run_that_undoes() {
        let (session, id) = (Session::new(watch::Sender::default()), waybill_schema::new_id());
        let first = hold(&session, id, 1);
        session.release(id, 1);
        let undo = hold(&session, id, 2);
        session.ask(&[id]);
        assert!(!undo.is_cancelled() && !session.asked(id, 2).is_cancelled());
        assert!(!first.is_cancelled(), "it had ended");
        session.release(id, 2);
        let next = hold(&session, id, 3);
        session.ask(&[id, waybill_schema::new_id()]);
        assert!(next.is_cancelled() && session.asked(id, 3).is_cancelled());
        assert!(!session.asked(id, 2).is_cancelled(), "of another claim");
    }

    /// The row of a claim says whose the jobs are, so it must not go before the last of them has ended.
    #[test]
    fn a_claim_is_over_when_the_last_of_its_jobs_has_ended() {
        let (session, a, b) =
            (Session::new(watch::Sender::default()), waybill_schema::new_id(), waybill_schema::new_id());
        session.hold(&[claimed(a, 1, 7), claimed(b, 1, 7)]);
        session.release(a, 1);
        session.release(a, 1);
        assert_eq!((session.take_ended(), session.open_claims()), (vec![], vec![7]));
        // The same job, claimed anew: its first claim was lost without our knowing.
        session.hold(&[claimed(b, 2, 8)]);
        assert_eq!((session.take_ended(), session.open_claims()), (vec![7], vec![8]));
        session.release(b, 1);
        assert_eq!(session.open_claims(), vec![8], "that claim is not the present one");
        session.release(b, 2);
        session.give_back_ended(vec![7]);
        assert_eq!(session.take_ended(), vec![8, 7]);
    }
}
