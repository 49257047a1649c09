//! A worker's life under one id, from its row in `workers` to the loss or return of it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What a job of ours needs while it runs.
struct Held {
    claim: i64,
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

/// One life of a worker. When others take it for dead, the process goes on with a new one.
pub struct Session {
    id: Uuid,
    jobs: Mutex<HashMap<Uuid, Held>>,
    handlers: Mutex<CancellationToken>,
    stop: CancellationToken,
    abandon: CancellationToken,
    lost: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing between lock and unlock can leave these maps half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// A life with a new id.
    pub(crate) fn new() -> Self {
        Self {
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
        let asked = CancellationToken::new();
        let held =
            Held { claim, undo, cancel: cancel.clone(), asked, suspect: false, due: None, told: false };
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
    use super::Session;

    /// The list of who was asked was read before the job was queued again, to be undone; it comes when it is.
    #[test]
    fn a_word_that_comes_late_does_not_end_the_run_that_undoes() {
        let (session, id) = (Session::new(), waybill_schema::new_id());
        let first = session.hold(id, 1, false);
        session.release(id, 1);
        let undo = session.hold(id, 2, true);
        session.ask(&[id]);
        assert!(!undo.is_cancelled() && !session.asked(id, 2).is_cancelled());
        assert!(!first.is_cancelled(), "it had ended");
        session.release(id, 2);
        let next = session.hold(id, 3, false);
        session.ask(&[id, waybill_schema::new_id()]);
        assert!(next.is_cancelled() && session.asked(id, 3).is_cancelled());
        assert!(!session.asked(id, 2).is_cancelled(), "of another claim");
    }
}
