//! What happens to one request that moves money.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::faults::{Fault, FaultKind, Faults, Stage};
use crate::gateway::state::{Slot, State};
use crate::gateway::{Answer, Gateway, Inner, Step};
use crate::journal::{Journal, Line};
use crate::metrics::Seen;
use crate::model::{Command, Operation, Outcome, Record, Token, now};
use crate::refusal::Refusal;
use crate::webhooks::{Event, Manner};

impl Gateway {
    /// Takes `command` under `key`: does it, repeats what it did before, or lets a fault strike.
    pub(crate) fn submit(self: &Arc<Self>, key: &Arc<str>, command: Command) -> Result<Step, Refusal> {
        let operation = command.operation();
        let step = self.take(key, command);
        self.metrics.count(
            operation,
            match &step {
                Ok(Step::Answer(answer) | Step::Late { answer, .. }) if answer.replayed => Seen::Replayed,
                Ok(Step::Answer(answer) | Step::Late { answer, .. }) => Seen::of_status(answer.status_code),
                Ok(Step::Lose { .. }) => Seen::LostAnswer,
                Ok(Step::Hang { .. }) => Seen::Timeout,
                Err(refusal) => Seen::of_refusal(refusal),
            },
        );
        step
    }

    fn take(self: &Arc<Self>, key: &Arc<str>, command: Command) -> Result<Step, Refusal> {
        if self.journal.as_ref().is_some_and(Journal::is_broken) {
            return Err(Refusal::JournalUnavailable);
        }
        let mut guard = self.lock();
        let Inner { state, faults, struck } = &mut *guard;

        let known = match state.operations.get(key) {
            Some(Slot::InFlight(first)) if *first == command => return Err(Refusal::InProgress),
            Some(Slot::Done(done)) if done.command == command && done.answering => {
                return Err(Refusal::InProgress);
            }
            Some(Slot::Done(done)) if done.command == command => Some(Answer {
                status_code: done.status_code,
                body: Arc::clone(&done.response),
                problem: is_problem(command.operation(), done.status_code),
                replayed: true,
                position: done.position,
            }),
            Some(_) => return Err(Refusal::KeyReused),
            None => None,
        };
        let stage = if known.is_some() { Stage::Replay } else { Stage::Fresh };
        let target = state.target(&command)?;
        let fault = faults
            .pick(stage, &target)
            .or_else(|| (known.is_none()).then(|| once(key, &command, struck)).flatten());
        let kind = fault.as_ref().map(|fault| fault.kind);
        let delay = fault.as_ref().map_or(Duration::ZERO, |fault| fault.delay);

        match kind {
            Some(FaultKind::Error500) => return Err(Refusal::Internal),
            Some(FaultKind::RateLimit) => {
                return Err(Refusal::RateLimited {
                    retry_after_secs: delay.as_millis().div_ceil(1_000).max(1).try_into().unwrap_or(u64::MAX),
                });
            }
            Some(FaultKind::Timeout) => {
                let hold = known.is_none().then(|| {
                    state.operations.insert(Arc::clone(key), Slot::InFlight(command));
                    self.hold(key)
                });
                return Ok(Step::Hang { delay, hold });
            }
            _ => {}
        }

        let fresh = known.is_none();
        let answer = if let Some(answer) = known {
            answer
        } else {
            struck.remove(key);
            let decline = fault
                .filter(|fault| fault.kind == FaultKind::Decline)
                .map(|fault| Arc::from(fault.decline_code.unwrap_or_else(|| "card_declined".to_owned())));
            self.carry_out(state, faults, key, command, decline)?
        };
        Ok(match kind {
            Some(FaultKind::LostAnswer) => Step::Lose { position: answer.position, delay },
            Some(FaultKind::Delay) => {
                if fresh && let Some(Slot::Done(done)) = state.operations.get_mut(key) {
                    done.answering = true;
                }
                Step::Late { answer, delay, hold: fresh.then(|| self.hold(key)) }
            }
            _ => Step::Answer(answer),
        })
    }

    fn carry_out(
        &self,
        state: &mut State,
        faults: &mut Faults,
        key: &Arc<str>,
        command: Command,
        decline: Option<Arc<str>>,
    ) -> Result<Answer, Refusal> {
        let at = now();
        let (outcome, status_code, response) = match state.decide(&command, decline) {
            Ok(outcome) => {
                let status_code = if matches!(outcome, Outcome::Declined { .. }) { 402 } else { 201 };
                let response = state.object(&command, &outcome, at, false)?;
                (outcome, status_code, response)
            }
            Err(refusal) if refusal.is_final() => {
                (Outcome::Refused, refusal.status().as_u16(), refusal.body())
            }
            Err(refusal) => return Err(refusal),
        };
        let record = Record { at, key: Arc::clone(key), command, outcome, status_code, response };
        let event = self.event(state, &record)?;
        let position = match &self.journal {
            Some(journal) => journal.append(&Line::Operation(record.clone()))?,
            None => 0,
        };
        state.apply(&record, position).map_err(|_| Refusal::Internal)?;
        if let Some(event) = event {
            let fault =
                state.target(&record.command).ok().and_then(|target| faults.pick(Stage::Webhook, &target));
            let manner = match fault {
                Some(Fault { kind: FaultKind::DuplicateWebhook, .. }) => Manner::Twice,
                Some(Fault { kind: FaultKind::DropWebhook, .. }) => Manner::Never,
                Some(Fault { kind: FaultKind::OutOfOrderWebhook, delay, .. }) => Manner::AfterNext(delay),
                _ => Manner::Once,
            };
            self.webhooks.send(event, position, manner);
        }
        Ok(Answer {
            status_code,
            body: record.response,
            problem: is_problem(record.command.operation(), status_code),
            replayed: false,
            position,
        })
    }

    /// The webhook event that tells of `record`; none if nothing happened or nobody listens.
    fn event(&self, state: &State, record: &Record) -> Result<Option<Event>, Refusal> {
        if !self.webhooks.is_enabled() {
            return Ok(None);
        }
        let (kind, authorization) = match &record.outcome {
            Outcome::Authorized { id } => ("authorization.succeeded", *id),
            Outcome::Declined { id, .. } => ("authorization.declined", *id),
            Outcome::Refused => return Ok(None),
            moved => {
                let subject = state.subject(&record.command)?.ok_or(Refusal::Internal)?;
                let kind = match moved {
                    Outcome::Captured { .. } => "capture.succeeded",
                    Outcome::Voided { .. } => "authorization.voided",
                    _ => "refund.succeeded",
                };
                (kind, subject.id)
            }
        };
        let data = state.object(&record.command, &record.outcome, record.at, true)?;
        Ok(Some(Event::new(kind, authorization, record.at, &data)))
    }
}

/// The fault that a `..._once` token brings upon the first request of its key.
fn once(key: &Arc<str>, command: &Command, struck: &mut HashSet<Arc<str>>) -> Option<Fault> {
    let Command::Authorize { token, .. } = command else { return None };
    let kind = match token {
        Token::LostAnswerOnce => FaultKind::LostAnswer,
        Token::TimeoutOnce => FaultKind::Timeout,
        Token::ErrorOnce => FaultKind::Error500,
        _ => return None,
    };
    // A lost answer needs no mark: its key is decided afterwards and never fresh again.
    (kind == FaultKind::LostAnswer || struck.insert(Arc::clone(key))).then(|| Fault::of(kind))
}

/// A declined authorization is an object with a status, not a problem; every other answer than 201 is one.
fn is_problem(operation: Operation, status_code: u16) -> bool {
    status_code != 201 && !(operation == Operation::Authorize && status_code == 402)
}
