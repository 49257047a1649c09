//! When the gateway does not answer, and when time is up.

use std::time::Duration;

use rand::Rng;
use waybill_jobs::{Failure, Outcome};
use waybill_schema::effects::{Ask, Effect};
use waybill_schema::orders::saga::{self, ReasonCode};

use super::advance::Next;
use super::run::Run;

const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

impl Run<'_> {
    /// Says so on the order, and comes back later without spending an attempt: an outage is not the job's fault, and the
    /// reservation's deadline ends the waiting.
    pub(super) async fn gateway_trouble(
        &mut self,
        key: &str,
        why: &str,
        retry_after: Option<Duration>,
    ) -> Result<Next, Failure> {
        let reason = "the payment gateway does not answer; trying again";
        {
            let mut conn = self.cx.pool.get().await?;
            let (mover, id, step) = (self.mover(), self.order.id, self.order.step);
            saga::note(&mut conn, mover, id, step, ReasonCode::GatewayUnavailable, reason).await?;
        }
        let mut after = self.retry_delay(key).max(retry_after.unwrap_or_default());
        if let Some(until) = self.order.reserved_until {
            // Not later than the deadline, so that the stock goes back in time.
            let left = (until - self.now()).to_std().unwrap_or_default();
            after = after.min(left + Duration::from_millis(50));
        }
        self.wait_or_snooze(after, why).await
    }

    /// Ends the attempt. While the gateway is down the job is held, and comes back when that is up, when it is its turn to try,
    /// or when its deadline has passed (`housekeeping.expire_checkouts`); else it comes back after a while.
    pub(super) async fn wait_or_snooze(&self, after: Duration, why: &str) -> Result<Next, Failure> {
        let reason = format!("gateway: {why}");
        if let Some(payment) = &self.order.payment
            && let Some(waits) = self.gateway(payment)?.dependency().wait(self.cx, &reason).await?
        {
            return Ok(Next::End(Outcome::Finished(waits)));
        }
        Ok(Next::End(Outcome::Snooze { after, reason }))
    }

    /// Doubles with every call that was made for the effect, with a jitter of a quarter either way.
    pub(super) fn retry_delay(&self, key: &str) -> Duration {
        let calls = self.order.effect(key).map_or(0, calls_made);
        let doublings = u32::try_from(calls).unwrap_or(u32::MAX).min(16);
        let delay = FIRST_RETRY.saturating_mul(1 << doublings).min(LONGEST_RETRY);
        delay.mul_f64(rand::rng().random_range(0.75..1.25))
    }

    /// The deadline has passed: the stock goes back, and so does the money, if any was held.
    pub(super) async fn expire(&mut self) -> Result<Next, Failure> {
        let reason = if self.order.reason_code.as_deref() == Some(ReasonCode::GatewayUnavailable.as_str()) {
            "the payment gateway did not answer in time"
        } else {
            "the payment did not come in time"
        };
        self.turn_back(ReasonCode::ReservationExpired, reason, None).await
    }
}

/// Before this run: its own first call, if it was announced, is not counted.
fn calls_made(effect: &Effect) -> usize {
    effect.calls.iter().filter(|call| call.ask == Ask::Request).count().saturating_sub(1)
}
