//! Bringing an effect of the ledger to its answer.
//!
//! The ledger has an entry for every call before it is made, and what came of it after. So a worker that takes over
//! finds either nothing (call), or a call without an answer: then it asks the gateway what became of the key, and calls
//! again, with the same key, only if the gateway has never heard of it.

use std::time::{Duration, Instant};

use diesel_async::AsyncConnection;
use waybill_jobs::{Failure, JobContext};
use waybill_schema::Conn;
use waybill_schema::effects::{self, Ask, Call, CallOutcome, Effect, NewEffect, Standing};

use super::gateway::{Answer, GatewayError, Operation, Request};
use super::gateways::GatewayHandle;
use crate::fail_point;
use crate::outages::Caller;

/// How a pursuit ended.
#[derive(Debug)]
pub enum Pursuit {
    /// The gateway's final word, which the caller writes down together with what follows from it.
    Answered {
        /// The answer.
        answer: Answer,
        /// To replace the ledger's last entry.
        calls: Vec<Call>,
    },
    /// The ledger had the answer already.
    Settled(Answer),
    /// Nobody knows yet. What was tried is in the ledger.
    Open {
        /// Why, for people.
        why: String,
        /// How long the gateway wants to be left alone.
        retry_after: Option<Duration>,
    },
}

/// The entry for a call that follows at once.
pub fn about_to_send(cx: &JobContext) -> Call {
    Call::new(Ask::Request, CallOutcome::Sent).by(cx.id, cx.attempt)
}

/// A ledger row for a call that follows at once.
pub fn new_effect(
    cx: &JobContext,
    key: String,
    provider: &str,
    order_id: uuid::Uuid,
    request: &Request,
) -> NewEffect {
    NewEffect {
        key,
        kind: request.operation().as_str(),
        provider: provider.to_owned(),
        correlation_id: order_id,
        request: request.to_ledger(),
        call: about_to_send(cx),
    }
}

/// Brings `effect` to its answer. `fresh` says that this very run has just written it, with the call that now follows, so
/// nobody can have called before.
pub async fn pursue(
    gateway: &GatewayHandle,
    caller: Caller<'_>,
    effect: &Effect,
    request: &Request,
    fresh: bool,
) -> Result<Pursuit, Failure> {
    let cx = caller.cx;
    let operation = request.operation();
    if !fresh {
        match effect.standing() {
            Standing::Settled => return settled(effect),
            Standing::Untried => append(cx, &effect.key, &[about_to_send(cx)]).await?,
            Standing::Unknown(_) => match ask(gateway, caller, effect, operation).await {
                Asked::Answer { answer, calls } => return Ok(Pursuit::Answered { answer, calls }),
                Asked::NotFound { mut calls } => {
                    calls.push(about_to_send(cx));
                    replace_last(cx, &effect.key, &calls).await?;
                }
                Asked::InVain { error, calls } => {
                    replace_last(cx, &effect.key, &calls).await?;
                    return Ok(open(&error));
                }
            },
        }
    }
    call(gateway, caller, effect, request).await
}

/// What asking gave. `calls` replace the ledger's last entry.
pub enum Asked {
    /// The gateway has decided.
    Answer {
        /// What.
        answer: Answer,
        /// For the ledger.
        calls: Vec<Call>,
    },
    /// The gateway knows of no such request.
    NotFound {
        /// For the ledger.
        calls: Vec<Call>,
    },
    /// The gateway could not say.
    InVain {
        /// Why.
        error: GatewayError,
        /// For the ledger.
        calls: Vec<Call>,
    },
}

/// Asks what became of an effect that an earlier run left without an answer.
pub async fn ask(
    gateway: &GatewayHandle,
    caller: Caller<'_>,
    effect: &Effect,
    operation: Operation,
) -> Asked {
    let calls = effect
        .calls
        .last()
        .map(|last| match last.outcome {
            CallOutcome::Sent => Call { outcome: CallOutcome::Unknown, ..last.clone() },
            _ => last.clone(),
        })
        .into_iter()
        .collect();
    ask_after(gateway, caller, &effect.key, operation, calls).await
}

async fn ask_after(
    gateway: &GatewayHandle,
    caller: Caller<'_>,
    key: &str,
    operation: Operation,
    mut calls: Vec<Call>,
) -> Asked {
    let cx = caller.cx;
    let (asked, began) = (Call::new(Ask::Lookup, CallOutcome::Unknown).by(cx.id, cx.attempt), Instant::now());
    let found = gateway.lookup(caller, key, operation).await;
    let outcome = match &found {
        Ok(Some(answer)) => outcome_of(answer),
        Ok(None) => CallOutcome::NotFound,
        Err(error) => outcome_of_error(error),
    };
    let error = found.as_ref().err().map(ToString::to_string);
    calls.push(Call { outcome, ms: Some(ms(began)), error, ..asked });
    match found {
        Ok(Some(answer)) => Asked::Answer { answer, calls },
        Ok(None) => Asked::NotFound { calls },
        Err(error) => Asked::InVain { error, calls },
    }
}

/// Calls; the ledger's last entry says so already. A lost answer is asked for at once.
async fn call(
    gateway: &GatewayHandle,
    caller: Caller<'_>,
    effect: &Effect,
    request: &Request,
) -> Result<Pursuit, Failure> {
    let cx = caller.cx;
    // Who is told to stop may have lost the job: it must not touch money any more.
    if cx.cancelled.is_cancelled() {
        return Err(Failure::retryable("stopped before a call to the gateway"));
    }
    let operation = request.operation();
    fail_point!("before_{}_call", operation.as_str());
    let (sent, began) = (about_to_send(cx), Instant::now());
    let result = gateway.call(caller, &effect.key, request).await;
    fail_point!("after_{}_call", operation.as_str());
    let ms = Some(ms(began));
    match result {
        Ok(answer) => {
            let calls = vec![Call { outcome: outcome_of(&answer), ms, ..sent }];
            Ok(Pursuit::Answered { answer, calls })
        }
        Err(error @ GatewayError::Unavailable { .. }) => {
            let unavailable =
                Call { outcome: CallOutcome::Unavailable, ms, error: Some(error.to_string()), ..sent };
            replace_last(cx, &effect.key, &[unavailable]).await?;
            Ok(open(&error))
        }
        Err(error) => {
            let lost = Call { outcome: CallOutcome::Unknown, ms, error: Some(error.to_string()), ..sent };
            match ask_after(gateway, caller, &effect.key, operation, vec![lost]).await {
                Asked::Answer { answer, calls } => Ok(Pursuit::Answered { answer, calls }),
                Asked::NotFound { calls } | Asked::InVain { calls, .. } => {
                    replace_last(cx, &effect.key, &calls).await?;
                    Ok(open(&error))
                }
            }
        }
    }
}

fn settled(effect: &Effect) -> Result<Pursuit, Failure> {
    let response =
        effect.response.as_ref().ok_or_else(|| Failure::permanent("a settled effect has no answer"))?;
    Ok(Pursuit::Settled(Answer::from_ledger(response)?))
}

fn open(error: &GatewayError) -> Pursuit {
    let retry_after = match error {
        GatewayError::Unavailable { retry_after, .. } => *retry_after,
        GatewayError::Unknown(_) => None,
    };
    Pursuit::Open { why: error.to_string(), retry_after }
}

async fn append(cx: &JobContext, key: &str, calls: &[Call]) -> Result<(), Failure> {
    record(cx, key, false, calls).await
}

/// Replaces the ledger's last entry, as long as the job is ours.
pub async fn replace_last(cx: &JobContext, key: &str, calls: &[Call]) -> Result<(), Failure> {
    record(cx, key, true, calls).await
}

async fn record(cx: &JobContext, key: &str, answered: bool, calls: &[Call]) -> Result<(), Failure> {
    let mut conn = cx.pool.get().await?;
    (*conn)
        .transaction(async |conn: &mut Conn| {
            cx.guard(conn).await?;
            effects::record(conn, key, answered, calls).await?;
            Ok(())
        })
        .await
}

fn outcome_of(answer: &Answer) -> CallOutcome {
    match answer {
        Answer::Succeeded { .. } => CallOutcome::Succeeded,
        Answer::Declined { .. } => CallOutcome::Declined,
        Answer::Rejected { .. } | Answer::NeverArrived => CallOutcome::Rejected,
    }
}

fn outcome_of_error(error: &GatewayError) -> CallOutcome {
    match error {
        GatewayError::Unknown(_) => CallOutcome::Unknown,
        GatewayError::Unavailable { .. } => CallOutcome::Unavailable,
    }
}

fn ms(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}
