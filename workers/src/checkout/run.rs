//! The loop over the steps.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use waybill_jobs::{Failure, JobContext, JobResult, Outcome, kinds::RunCheckout};
use waybill_schema::CheckoutStep;
use waybill_schema::orders::saga::{self, Mover, ReasonCode, SagaOrder};
use waybill_schema::system::outages::Standing;

use super::CheckoutDeps;
use super::advance::Next;
use crate::fail_point;
use crate::outages::Caller;

/// How often one attempt reads the order anew. Every read but the first is due to a lost race or to a step of the way back,
/// of which there are at most six.
const MAX_READS: usize = 16;

/// One attempt at an order.
pub(super) struct Run<'a> {
    pub deps: &'a CheckoutDeps,
    pub cx: &'a JobContext,
    pub order: SagaOrder,
    /// Key of the effect that this very run has announced and not called yet.
    pub announced: Option<String>,
    read_at: Instant,
}

/// Runs one attempt.
pub(super) async fn run(deps: &CheckoutDeps, job: &RunCheckout, cx: &JobContext) -> JobResult {
    for _ in 0..MAX_READS {
        let read_at = Instant::now();
        let order = {
            let mut conn = cx.pool.get().await?;
            saga::load(&mut conn, job.order_id, cx.id).await?
        };
        let Some(order) = order else {
            return Ok(Outcome::Discard(format!("there is no order {}", job.order_id)));
        };
        fail_point!("checkout.loaded");
        let mut run = Run { deps, cx, order, announced: None, read_at };
        let walked = run.walk().await;
        if run.order.gateway == Standing::Probe
            && !matches!(walked, Ok(None))
            && let Some(payment) = &run.order.payment
            && let Ok(gateway) = run.gateway(payment)
        {
            gateway.dependency().over(cx).await;
        }
        if let Some(outcome) = walked? {
            return Ok(outcome);
        }
        // Somebody else moved the order, or the job is no longer ours: then this says so and ends the attempt.
        let mut conn = cx.pool.get().await?;
        cx.guard(&mut conn).await?;
    }
    Err(Failure::retryable("the order moved under this attempt too often"))
}

impl Run<'_> {
    /// Goes on until the end, or until the order must be read anew (none).
    async fn walk(&mut self) -> Result<Option<Outcome>, Failure> {
        loop {
            let next = match self.order.step {
                step if self.is_last_attempt() && step < CheckoutStep::Captured => {
                    let reason = format!("the checkout failed {} times", self.cx.attempt);
                    self.turn_back(ReasonCode::PaymentFailed, &reason, None).await?
                }
                CheckoutStep::Accepted => self.reserve().await?,
                CheckoutStep::Reserved => self.authorize().await?,
                CheckoutStep::Authorized => self.capture().await?,
                CheckoutStep::Captured => self.complete(None).await?,
                CheckoutStep::Compensating => self.compensate().await?,
                CheckoutStep::Completed | CheckoutStep::Compensated => Next::End(Outcome::done()),
            };
            match next {
                Next::Step(step) => self.order.step = step,
                Next::Reload => return Ok(None),
                Next::End(outcome) => return Ok(Some(outcome)),
            }
        }
    }

    /// This run, to the payment's gateway.
    pub(super) fn caller(&self) -> Caller<'_> {
        Caller { cx: self.cx, standing: self.order.gateway, asked: self.read_at }
    }

    /// After this attempt the job would be a dead letter with stock in its hands.
    fn is_last_attempt(&self) -> bool {
        self.cx.attempt >= self.cx.max_attempts && self.cx.max_attempts > 1
    }

    pub(super) fn mover(&self) -> Mover {
        Mover { job_id: self.cx.id, claim: self.cx.claim, attempt: self.cx.attempt }
    }

    /// The database's clock: read with the order, advanced by ours.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.order.now + TimeDelta::from_std(self.read_at.elapsed()).unwrap_or(TimeDelta::MAX)
    }

    /// Whether the stock's deadline has passed.
    pub(super) fn is_expired(&self) -> bool {
        self.order.reserved_until.is_some_and(|until| until < self.now())
    }
}
