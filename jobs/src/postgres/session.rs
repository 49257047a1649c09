//! A worker's life under one id, from its row in `workers` to the loss or return of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    claim::Claimed,
    in_hand::{Hand, InHand, Overdue},
};

/// One life of a worker. When others take it for dead, the process goes on with a new one.
pub struct Session {
    id: Uuid,
    hand: Hand,
    stop: CancellationToken,
    abandon: CancellationToken,
    lost: CancellationToken,
    quiet: watch::Sender<Option<String>>,
    unheard: AtomicBool,
    abandoned: AtomicBool,
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
            unheard: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            places: Mutex::default(),
            id: waybill_schema::new_id(),
            hand: Hand::default(),
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

    /// Drops the running handlers, and lets none begin.
    pub(crate) fn abandon_handlers(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.abandon.cancel();
    }

    /// Whether they were. Asked for each job, and unlike the token it takes no lock.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
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

    /// Whether the heartbeat has been away for the grace, so that others may take this worker for dead at any moment.
    pub(crate) fn is_unheard(&self) -> bool {
        self.unheard.load(Ordering::Acquire)
    }

    /// Says so, and that running handlers should stop; or that the heartbeat is back.
    pub(crate) fn set_unheard(&self, unheard: bool) {
        self.unheard.store(unheard, Ordering::Release);
        if unheard {
            self.cancel_handlers();
        }
    }

    /// Whether to claim: not while somebody wants it quiet, nor while nobody hears of it.
    pub(crate) fn claims(&self) -> bool {
        !self.stop.is_cancelled() && !self.is_quiet() && !self.is_unheard()
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

    /// Jobs in hand whose handlers have begun.
    pub(crate) fn begun(&self) -> HashSet<Uuid> {
        self.hand.begun()
    }

    /// How many handlers have begun and not ended.
    pub(crate) fn handled(&self) -> usize {
        self.hand.handled()
    }

    /// Asks the running handlers to stop. Those that start later are not asked.
    pub(crate) fn cancel_handlers(&self) {
        self.hand.cancel();
    }

    /// Ends the session: others have its jobs.
    pub(crate) fn declare_lost(&self) {
        self.stop.cancel();
        self.lost.cancel();
        self.cancel_handlers();
        self.abandon_handlers();
    }

    /// Takes note of claimed jobs; answers with what is to be shared of each, in the same order.
    pub(crate) fn hold(&self, claimed: &[Claimed]) -> Vec<Arc<InHand>> {
        self.hand.hold(claimed)
    }

    /// Claims whose jobs have all ended. Whoever takes them removes their rows, or gives them back.
    pub(crate) fn take_ended(&self) -> Vec<i64> {
        self.hand.take_over()
    }

    /// Gives back what [`Session::take_ended`] answered.
    pub(crate) fn give_back_ended(&self, batches: Vec<i64>) {
        self.hand.give_back_over(batches);
    }

    /// Claims of which jobs have not ended.
    pub(crate) fn open_claims(&self) -> Vec<i64> {
        self.hand.open()
    }

    /// Asks handlers to end because their jobs are not wanted any more; ids that are not ours are ignored. So are those that
    /// undo: it is the run before that was asked, and the word of it came late.
    pub(crate) fn ask(&self, ids: &[Uuid]) {
        self.hand.ask(ids);
    }

    /// Whose handlers should have ended by `now`.
    pub(crate) fn overdue(&self, now: Instant) -> Overdue {
        self.hand.overdue(now)
    }

    /// Forgets jobs whose ends are durable.
    pub(crate) fn release<'a>(&self, jobs: impl IntoIterator<Item = &'a InHand>) {
        self.hand.release(jobs);
    }

    /// Jobs in hand.
    pub fn in_hand(&self) -> usize {
        self.hand.len()
    }

    /// Compares what we hold with what the database says we hold, and answers with what only the database knows.
    ///
    /// Jobs that are no longer ours (their rows were changed by an operator, or given to another worker) get their token
    /// cancelled, once they were found so twice: a completion may be on its way.
    pub(crate) fn reconcile(&self, rows: &HashMap<Uuid, i64>) -> Vec<(Uuid, i64)> {
        self.hand.reconcile(rows)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use chrono::Utc;
    use serde_json::Value;
    use tokio::sync::watch;
    use uuid::Uuid;

    use super::{Arc, InHand, Session};
    use crate::{
        payload::Payload,
        postgres::{Claimed, Tid},
    };

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
            payload: Payload::from(&Value::Null),
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

    pub(crate) fn hold(session: &Session, id: Uuid, claim: i64) -> Arc<InHand> {
        session.hold(&[claimed(id, claim, claim)]).remove(0)
    }

    /// The list of who was asked was read before the job was queued again, to be undone; it comes when it is.
    #[test]
    fn a_word_that_comes_late_does_not_end_the_run_that_undoes() {
        let (session, id) = (Session::new(watch::Sender::default()), waybill_schema::new_id());
        let first = hold(&session, id, 1);
        session.release([&*first]);
        let undo = hold(&session, id, 2);
        session.ask(&[id]);
        assert!(!undo.cancel.is_cancelled() && !undo.asked.is_asked());
        assert!(!first.cancel.is_cancelled(), "it had ended");
        session.release([&*undo]);
        let next = hold(&session, id, 3);
        session.ask(&[id, waybill_schema::new_id()]);
        assert!(next.cancel.is_cancelled() && next.asked.is_asked());
        assert!(!undo.asked.is_asked(), "of another claim");
    }

    /// The row of a claim says whose the jobs are, so it must not go before the last of them has ended.
    #[test]
    fn a_claim_is_over_when_the_last_of_its_jobs_has_ended() {
        let (session, a, b) =
            (Session::new(watch::Sender::default()), waybill_schema::new_id(), waybill_schema::new_id());
        let held = session.hold(&[claimed(a, 1, 7), claimed(b, 1, 7)]);
        session.release([&*held[0]]);
        session.release([&*held[0]]);
        assert_eq!((session.take_ended(), session.open_claims()), (vec![], vec![7]));
        // The same job, claimed anew: its first claim was lost without our knowing.
        let anew = session.hold(&[claimed(b, 2, 8)]);
        assert_eq!((session.take_ended(), session.open_claims()), (vec![7], vec![8]));
        session.release([&*held[1]]);
        assert_eq!(session.open_claims(), vec![8], "that claim is not the present one");
        session.release([&*anew[0]]);
        session.give_back_ended(vec![7]);
        assert_eq!(session.take_ended(), vec![8, 7]);
    }

    /// A handler that has ended is not overdue, however long its end waits for the database; one that never begins has no time.
    #[test]
    fn only_a_handler_that_runs_is_overdue_and_it_is_said_once() {
        let session = Session::new(watch::Sender::default());
        let ids = [1, 2, 3].map(|_| waybill_schema::new_id());
        let [begun, ended, waits] = ids.map(|id| hold(&session, id, 1));
        let due = std::time::Instant::now();
        begun.begun("a", due);
        ended.begun("b", due);
        ended.ended();
        let later = due + std::time::Duration::from_secs(1);
        assert_eq!(session.overdue(due).jobs, 0);
        let overdue = session.overdue(later);
        assert_eq!((overdue.jobs, overdue.fresh), (1, vec![(begun.id, "a", later - due)]));
        let again = session.overdue(later);
        assert_eq!((again.jobs, again.fresh.len()), (1, 0));
        session.release([&*begun, &*ended, &*waits]);
        assert_eq!((session.overdue(later).jobs, session.in_hand()), (0, 0));
    }
}
