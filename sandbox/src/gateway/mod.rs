//! The gateway without its network: takes commands under idempotency keys, applies faults, keeps books.
//!
//! Everything is decided under one mutex that is held for microseconds and never across an await. What has to wait (a
//! scripted delay, the journal's disk) comes back to the caller as a [`Step`].

mod ledger;
#[cfg(test)]
mod properties;
mod state;
mod submit;

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::faults::{FaultSpec, Faults, Waiting};
use crate::journal::{self, Journal, JournalError};
use crate::metrics::Metrics;
use crate::model::{Authorization, Operation, now};
use crate::refusal::Refusal;
use crate::webhooks::Dispatcher;

pub(crate) use ledger::{MAX_PAGE, Page, Summary};
use state::{Slot, State};

pub(crate) struct Gateway {
    inner: Mutex<Inner>,
    journal: Option<Journal>,
    pub(crate) webhooks: Dispatcher,
    pub(crate) metrics: Metrics,
}

struct Inner {
    state: State,
    faults: Faults,
    /// Idempotency keys whose first request was struck by a `..._once` token and has had no effect yet.
    struck: HashSet<Arc<str>>,
}

/// An answer, fresh or repeated.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status_code: u16,
    pub(crate) body: Arc<RawValue>,
    /// The body is a problem document rather than an object.
    pub(crate) problem: bool,
    /// The idempotency key had been used: nothing was done now.
    pub(crate) replayed: bool,
    /// The journal position to wait for before anybody hears of it.
    pub(crate) position: u64,
}

/// What to do about a request.
pub(crate) enum Step {
    Answer(Answer),
    /// Answer after `delay`; the key is in flight as long as `hold` lives.
    Late {
        answer: Answer,
        delay: Duration,
        hold: Option<Hold>,
    },
    /// Close the connection after `delay` without an answer.
    Lose {
        position: u64,
        delay: Duration,
    },
    /// Say nothing for `delay`, nothing having happened.
    Hang {
        delay: Duration,
        hold: Option<Hold>,
    },
}

/// An idempotency key in flight. Dropping it (the answer is out, or the client went) releases the key.
pub(crate) struct Hold {
    gateway: Arc<Gateway>,
    key: Arc<str>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let operations = &mut self.gateway.lock().state.operations;
        match operations.get_mut(&self.key) {
            Some(Slot::Done(done)) => done.answering = false,
            Some(Slot::InFlight(_)) => {
                operations.remove(&self.key);
            }
            None => {}
        }
    }
}

/// A stored operation, for a client that lost the answer.
#[derive(Debug, Serialize)]
pub(crate) struct StoredOperation {
    operation: Operation,
    status_code: u16,
    response: Arc<RawValue>,
    created_at: chrono::DateTime<chrono::Utc>,
    #[serde(skip)]
    pub(crate) position: u64,
}

impl Gateway {
    /// A gateway that knows what `journal` tells, and writes on in it; `fsync` after every group of records.
    pub(crate) fn open(
        journal: Option<&Path>,
        fsync: bool,
        fault_seed: Option<u64>,
        webhooks: Dispatcher,
    ) -> Result<Self, JournalError> {
        let mut state = State::default();
        let journal = match journal {
            None => None,
            Some(path) => {
                let file = journal::replay(path, |line| {
                    match line {
                        journal::Line::Operation(record) => {
                            state.apply(&record, 0).map_err(|error| error.to_string())?;
                        }
                        journal::Line::Reset { .. } => state = State::default(),
                    }
                    Ok(())
                })?;
                Some(Journal::start(file, fsync)?)
            }
        };
        Ok(Self {
            inner: Mutex::new(Inner { state, faults: Faults::new(fault_seed), struck: HashSet::new() }),
            journal,
            webhooks,
            metrics: Metrics::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(self: &Arc<Self>, key: &Arc<str>) -> Hold {
        Hold { gateway: Arc::clone(self), key: Arc::clone(key) }
    }

    /// Waits until everything up to `position` is in the journal.
    pub(crate) async fn written(&self, position: u64) -> Result<(), Refusal> {
        match &self.journal {
            Some(journal) => journal.written(position).await,
            None => Ok(()),
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        !self.journal.as_ref().is_some_and(Journal::is_broken)
    }

    pub(crate) fn authorization<T>(
        &self,
        id: crate::ids::AuthorizationId,
        read: impl FnOnce(&Authorization) -> T,
    ) -> Result<T, Refusal> {
        self.lock().state.authorization(id).map(read)
    }

    /// What became of the request with this idempotency key. A key in flight without effect is [`Refusal::InProgress`]:
    /// neither answer would be true.
    pub(crate) fn operation(&self, key: &str) -> Result<StoredOperation, Refusal> {
        match self.lock().state.operations.get(key) {
            Some(Slot::Done(done)) => Ok(StoredOperation {
                operation: done.command.operation(),
                status_code: done.status_code,
                response: Arc::clone(&done.response),
                created_at: done.at,
                position: done.position,
            }),
            Some(Slot::InFlight(_)) => Err(Refusal::InProgress),
            None => Err(Refusal::NotFound("operation")),
        }
    }

    pub(crate) fn ledger_page(&self, after: u64, limit: usize) -> Page {
        self.lock().state.ledger.page(after, limit)
    }

    pub(crate) fn summary(&self) -> Summary {
        self.lock().state.ledger.summary()
    }

    pub(crate) fn add_fault(&self, spec: FaultSpec) -> Result<Waiting, Refusal> {
        self.lock().faults.add(spec)
    }

    pub(crate) fn faults<T>(&self, read: impl FnOnce(&Faults) -> T) -> T {
        read(&self.lock().faults)
    }

    pub(crate) fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// Forgets everything: money, keys, faults and webhook counts.
    pub(crate) fn reset(&self) -> Result<u64, Refusal> {
        let mut inner = self.lock();
        let position = match &self.journal {
            Some(journal) => journal.append(&journal::Line::Reset { at: now() })?,
            None => 0,
        };
        inner.state = State::default();
        inner.struck.clear();
        inner.faults.reset();
        self.webhooks.reset_counts();
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::model::{Command, Token};
    use crate::money::Money;
    use crate::webhooks::Settings;

    /// `/dev/full` takes no byte: what a full disk looks like.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_journal_that_cannot_be_written_stops_the_money() {
        let (dispatcher, _) = Dispatcher::new(Settings { lanes: 1, queue: 1, attempts: 1 }, None);
        let mut gateway = Gateway::open(None, false, None, dispatcher).unwrap();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        gateway.journal = Some(Journal::start(full, false).unwrap());
        let gateway = Arc::new(gateway);
        let command = Command::Authorize {
            money: Money::parse("1.00", "GBP".parse().unwrap()).unwrap(),
            token: Token::Visa,
            reference: "order".into(),
        };
        let Ok(Step::Answer(answer)) = gateway.submit(&"k1".into(), command.clone()) else {
            panic!("refused")
        };
        assert_eq!(gateway.written(answer.position).await, Err(Refusal::JournalUnavailable));
        assert!(!gateway.is_ready());
        for key in ["k1", "k2"] {
            let refused = gateway.submit(&key.into(), command.clone()).err();
            assert_eq!(refused, Some(Refusal::JournalUnavailable));
        }
        assert_eq!(gateway.reset(), Err(Refusal::JournalUnavailable));
    }
}
