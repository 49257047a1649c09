//! The money: which commands are legal, and what they change. No clocks, no locks, no network.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde_json::value::RawValue;

use crate::faults::Target;
use crate::gateway::ledger::Ledger;
use crate::ids::{AuthorizationId, CaptureId, RefundId, VoidId};
use crate::model::{
    Authorization, AuthorizationStatus, Capture, Command, Entry, Movement, ObjectId, Operation, Outcome,
    Record,
};
use crate::money::Money;
use crate::refusal::{Refusal, raw};

/// All that the gateway knows.
#[derive(Debug, Default)]
pub(crate) struct State {
    authorizations: HashMap<AuthorizationId, Authorization>,
    captures: HashMap<CaptureId, Capture>,
    pub(crate) operations: HashMap<Arc<str>, Slot>,
    pub(crate) ledger: Ledger,
}

/// What is known of an idempotency key.
#[derive(Debug)]
pub(crate) enum Slot {
    /// A request is being processed and has had no effect yet.
    InFlight(Command),
    /// Decided.
    Done(Box<Done>),
}

/// A decided operation.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) command: Command,
    pub(crate) status_code: u16,
    pub(crate) response: Arc<RawValue>,
    pub(crate) at: DateTime<Utc>,
    /// Where in the journal it stands; nobody hears of it before that is written.
    pub(crate) position: u64,
    /// The first answer is still on its way: the key counts as in flight.
    pub(crate) answering: bool,
}

/// A record contradicts the state that the records before it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record does not fit what happened before it")]
pub(crate) struct Inconsistent;

impl State {
    pub(crate) fn authorization(&self, id: AuthorizationId) -> Result<&Authorization, Refusal> {
        self.authorizations.get(&id).ok_or(Refusal::NotFound("authorization"))
    }

    fn capture(&self, id: CaptureId) -> Result<&Capture, Refusal> {
        self.captures.get(&id).ok_or(Refusal::NotFound("capture"))
    }

    /// The authorization that a command is about; `None` if it makes a new one.
    pub(crate) fn subject(&self, command: &Command) -> Result<Option<&Authorization>, Refusal> {
        match command {
            Command::Authorize { .. } => Ok(None),
            Command::Capture { authorization, .. } | Command::Void { authorization } => {
                self.authorization(*authorization).map(Some)
            }
            Command::Refund { capture, .. } => {
                self.authorization(self.capture(*capture)?.authorization).map(Some)
            }
        }
    }

    /// What `command` is about, for matching faults.
    pub(crate) fn target<'a>(&'a self, command: &'a Command) -> Result<Target<'a>, Refusal> {
        let operation = command.operation();
        Ok(match (command, self.subject(command)?) {
            (_, Some(subject)) => Target { operation, reference: &subject.reference, token: subject.token },
            (Command::Authorize { token, reference, .. }, None) => {
                Target { operation, reference, token: *token }
            }
            (_, None) => return Err(Refusal::Internal),
        })
    }

    /// What becomes of `command`, without doing it. `decline` turns it down for that reason.
    pub(crate) fn decide(&self, command: &Command, decline: Option<Arc<str>>) -> Result<Outcome, Refusal> {
        match command {
            Command::Authorize { token, .. } => {
                let id = AuthorizationId::new();
                Ok(match decline.or_else(|| token.decline_code().map(Arc::from)) {
                    Some(decline_code) => Outcome::Declined { id, decline_code },
                    None => Outcome::Authorized { id },
                })
            }
            Command::Capture { authorization, money } => {
                let held = self.authorization(*authorization)?;
                same_currency(held.money, *money)?;
                usable(held)?;
                let left = held.money.amount - held.captured;
                if money.amount > left {
                    return Err(Refusal::CaptureExceedsAuthorized { left });
                }
                accept(decline, Outcome::Captured { id: CaptureId::new() })
            }
            Command::Void { authorization } => {
                let held = self.authorization(*authorization)?;
                usable(held)?;
                if !held.captured.is_zero() {
                    return Err(Refusal::AlreadyCaptured);
                }
                accept(decline, Outcome::Voided { id: VoidId::new() })
            }
            Command::Refund { capture, money } => {
                let taken = self.capture(*capture)?;
                same_currency(self.authorization(taken.authorization)?.money, *money)?;
                let left = taken.amount - taken.refunded;
                if money.amount > left {
                    return Err(Refusal::RefundExceedsCaptured { left });
                }
                accept(decline, Outcome::Refunded { id: RefundId::new() })
            }
        }
    }

    /// The object that a decided command makes, as JSON. With `reference` as webhooks show it.
    pub(crate) fn object(
        &self,
        command: &Command,
        outcome: &Outcome,
        at: DateTime<Utc>,
        for_webhook: bool,
    ) -> Result<Arc<RawValue>, Refusal> {
        if let Some(authorization) = new_authorization(command, outcome, at) {
            return Ok(raw(&authorization));
        }
        let subject = self.subject(command)?.ok_or(Refusal::Internal)?;
        let (id, capture_id, money) = match (command, outcome) {
            (Command::Capture { money, .. }, Outcome::Captured { id }) => {
                (ObjectId::Capture(*id), None, *money)
            }
            (Command::Void { .. }, Outcome::Voided { id }) => (ObjectId::Void(*id), None, subject.money),
            (Command::Refund { capture, money }, Outcome::Refunded { id }) => {
                (ObjectId::Refund(*id), Some(*capture), *money)
            }
            _ => return Err(Refusal::Internal),
        };
        Ok(raw(&Movement {
            id,
            capture_id,
            authorization_id: subject.id,
            money,
            status: "succeeded",
            created_at: at,
            reference: for_webhook.then_some(&*subject.reference),
        }))
    }

    /// Does what `record` says. The limits are checked again, so that not even a journal can break them.
    pub(crate) fn apply(&mut self, record: &Record, position: u64) -> Result<(), Inconsistent> {
        let Record { at, key, command, outcome, .. } = record;
        if matches!(self.operations.get(key), Some(Slot::Done(_))) {
            return Err(Inconsistent);
        }
        match (command, outcome) {
            (_, Outcome::Refused) => {}
            (Command::Authorize { .. }, Outcome::Authorized { .. } | Outcome::Declined { .. }) => {
                let authorization = new_authorization(command, outcome, *at).ok_or(Inconsistent)?;
                let id = authorization.id;
                if authorization.status == AuthorizationStatus::Authorized {
                    let object = ObjectId::Authorization(id);
                    self.enter(&authorization, Operation::Authorize, object, authorization.money.amount, *at);
                } else {
                    self.ledger.count_decline();
                }
                if self.authorizations.insert(id, authorization).is_some() {
                    return Err(Inconsistent);
                }
            }
            (Command::Capture { authorization, money }, Outcome::Captured { id }) => {
                let held = self.authorizations.get_mut(authorization).ok_or(Inconsistent)?;
                usable(held).map_err(|_| Inconsistent)?;
                let captured = sum(held.captured, money.amount, held.money.amount)?;
                held.captured = captured;
                let capture =
                    Capture { authorization: held.id, amount: money.amount, refunded: money.currency.zero() };
                let held = held.clone();
                self.captures.insert(*id, capture);
                self.enter(&held, Operation::Capture, ObjectId::Capture(*id), money.amount, *at);
            }
            (Command::Void { authorization }, Outcome::Voided { id }) => {
                let held = self.authorizations.get_mut(authorization).ok_or(Inconsistent)?;
                usable(held).map_err(|_| Inconsistent)?;
                if !held.captured.is_zero() {
                    return Err(Inconsistent);
                }
                held.voided = true;
                let held = held.clone();
                self.enter(&held, Operation::Void, ObjectId::Void(*id), held.money.amount, *at);
            }
            (Command::Refund { capture, money }, Outcome::Refunded { id }) => {
                let taken = self.captures.get_mut(capture).ok_or(Inconsistent)?;
                let held = self.authorizations.get_mut(&taken.authorization).ok_or(Inconsistent)?;
                let refunded = sum(taken.refunded, money.amount, taken.amount)?;
                held.refunded = sum(held.refunded, money.amount, held.captured)?;
                taken.refunded = refunded;
                let held = held.clone();
                self.enter(&held, Operation::Refund, ObjectId::Refund(*id), money.amount, *at);
            }
            _ => return Err(Inconsistent),
        }
        let done = Done {
            command: command.clone(),
            status_code: record.status_code,
            response: Arc::clone(&record.response),
            at: *at,
            position,
            answering: false,
        };
        self.operations.insert(Arc::clone(key), Slot::Done(Box::new(done)));
        Ok(())
    }

    fn enter(
        &mut self,
        of: &Authorization,
        kind: Operation,
        id: ObjectId,
        amount: Decimal,
        at: DateTime<Utc>,
    ) {
        self.ledger.push(Entry {
            seq: self.ledger.next_seq(),
            kind,
            id,
            authorization_id: of.id,
            reference: Arc::clone(&of.reference),
            amount,
            currency: of.money.currency,
            at,
        });
    }
}

fn new_authorization(command: &Command, outcome: &Outcome, at: DateTime<Utc>) -> Option<Authorization> {
    let Command::Authorize { money, token, reference } = command else { return None };
    let (id, status, decline_code) = match outcome {
        Outcome::Authorized { id } => (*id, AuthorizationStatus::Authorized, None),
        Outcome::Declined { id, decline_code } => {
            (*id, AuthorizationStatus::Declined, Some(Arc::clone(decline_code)))
        }
        _ => return None,
    };
    let zero = money.currency.zero();
    Some(Authorization {
        id,
        status,
        decline_code,
        money: *money,
        reference: Arc::clone(reference),
        captured: zero,
        refunded: zero,
        voided: false,
        created_at: at,
        token: *token,
    })
}

/// `so_far` + `more`, if that is within `limit`.
fn sum(so_far: Decimal, more: Decimal, limit: Decimal) -> Result<Decimal, Inconsistent> {
    so_far.checked_add(more).filter(|sum| *sum <= limit).ok_or(Inconsistent)
}

fn same_currency(expected: Money, given: Money) -> Result<(), Refusal> {
    if expected.currency == given.currency {
        return Ok(());
    }
    Err(Refusal::CurrencyMismatch { expected: expected.currency, given: given.currency })
}

fn usable(held: &Authorization) -> Result<(), Refusal> {
    if held.status == AuthorizationStatus::Declined {
        return Err(Refusal::AuthorizationDeclined);
    }
    if held.voided {
        return Err(Refusal::AuthorizationVoided);
    }
    Ok(())
}

fn accept(decline: Option<Arc<str>>, outcome: Outcome) -> Result<Outcome, Refusal> {
    decline.map_or(Ok(outcome), |decline_code| Err(Refusal::Declined { decline_code }))
}
