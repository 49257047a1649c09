//! A worker's life under one id, from its row in `workers` to the loss or return of it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What a job of ours needs while it runs.
struct Held {
    claim: i64,
    /// Whether this is the run of its compensation.
    undo: bool,
    cancel: CancellationToken,
    /// Somebody wants it cancelled.
    asked: bool,
    /// An audit has seen it without a row that is ours.
    suspect: bool,
}

/// One life of a worker. When others take it for dead, the process goes on with a new one.
pub struct Session {
    id: Uuid,
    jobs: Mutex<HashMap<Uuid, Held>>,
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

    /// Takes note of a claimed job; answers with the token that its handler gets.
    pub(crate) fn hold(&self, id: Uuid, claim: i64, undo: bool) -> CancellationToken {
        let cancel = lock(&self.handlers).child_token();
        let held = Held { claim, undo, cancel: cancel.clone(), asked: false, suspect: false };
        lock(&self.jobs).insert(id, held);
        cancel
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
                held.asked = true;
                held.cancel.cancel();
            }
        }
    }

    /// Whether this claim was asked to end.
    pub(crate) fn is_asked(&self, id: Uuid, claim: i64) -> bool {
        lock(&self.jobs).get(&id).is_some_and(|held| held.claim == claim && held.asked)
    }

    /// Forgets a job whose end is durable.
    pub(crate) fn release(&self, id: Uuid, claim: i64) {
        let mut jobs = lock(&self.jobs);
        if jobs.get(&id).is_some_and(|held| held.claim == claim) {
            jobs.remove(&id);
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
mod tests {
    use tokio::sync::watch;

    use super::Session;

    /// The list of who was asked was read before the job was queued again, to be undone; it comes when it is.
    #[test]
    fn a_word_that_comes_late_does_not_end_the_run_that_undoes() {
        let (session, id) = (Session::new(watch::Sender::default()), waybill_schema::new_id());
        let first = session.hold(id, 1, false);
        session.release(id, 1);
        let undo = session.hold(id, 2, true);
        session.ask(&[id]);
        assert!(!undo.is_cancelled() && !session.is_asked(id, 2));
        assert!(!first.is_cancelled(), "it had ended");
        session.release(id, 2);
        let next = session.hold(id, 3, false);
        session.ask(&[id, waybill_schema::new_id()]);
        assert!(next.is_cancelled() && session.is_asked(id, 3));
        assert!(!session.is_asked(id, 2), "of another claim");
    }
}
