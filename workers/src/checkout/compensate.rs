//! compensating -> compensated: whatever the gateway holds or has taken goes back, then the order is cancelled.
//!
//! One outside effect at a time; after each the order is read anew.

use diesel_async::AsyncConnection;
use waybill_jobs::{Failure, Finished, JobContext, Outcome};
use waybill_schema::effects::{Effect, EffectState, authorize_key, capture_key, refund_key, void_key};
use waybill_schema::orders::saga::{self, Mover, SagaOrder};
use waybill_schema::{Conn, PaymentStatus};

use super::advance::{Abort, Next, tell_and_finish, unless_lost};
use super::events::order_cancelled;
use super::run::Run;
use super::turn_back::count_cancelled;
use crate::fail_point;
use crate::payments::Operation;

impl Run<'_> {
    /// The next thing to do about the money, or the end.
    pub(super) async fn compensate(&mut self) -> Result<Next, Failure> {
        let Some(payment) = self.order.payment.clone() else { return self.cancel().await };
        let effect = |key: String| self.order.effect(&key).cloned();
        let (authorization, capture) =
            (effect(authorize_key(self.order.id)), effect(capture_key(self.order.id)));
        if let Some(open) = authorization.filter(is_open) {
            return self.resolve(&payment, &open, Operation::Authorize).await;
        }
        if let Some(open) = capture.filter(is_open) {
            return self.resolve(&payment, &open, Operation::Capture).await;
        }
        // A webhook may have told what became of this before its answer was written: the ledger wants its answer too.
        let told = match payment.status {
            PaymentStatus::Voided => effect(void_key(self.order.id)).map(|open| (open, Operation::Void)),
            PaymentStatus::Refunded => {
                effect(refund_key(self.order.id)).map(|open| (open, Operation::Refund))
            }
            _ => None,
        };
        if let Some((open, operation)) = told.filter(|(effect, _)| is_open(effect)) {
            return self.resolve(&payment, &open, operation).await;
        }
        match payment.status {
            PaymentStatus::Authorized => self.void(&payment).await,
            PaymentStatus::Captured | PaymentStatus::PartiallyRefunded => self.refund(&payment).await,
            PaymentStatus::Pending
            | PaymentStatus::Voided
            | PaymentStatus::Declined
            | PaymentStatus::Failed
            | PaymentStatus::Refunded => self.cancel().await,
        }
    }

    async fn cancel(&mut self) -> Result<Next, Failure> {
        fail_point!("checkout.before_cancel");
        let result = {
            let mut conn = self.cx.pool.get().await?;
            let (mover, order, cx) = (self.mover(), &self.order, self.cx);
            (*conn)
                .transaction(async |conn: &mut Conn| {
                    let finished = cancel_in(conn, mover, order, cx).await?;
                    fail_point!("checkout.cancelling");
                    Ok(finished)
                })
                .await
        };
        let Some(finished) = unless_lost(result)? else { return Ok(Next::Reload) };
        fail_point!("checkout.after_cancel");
        count_cancelled(self.order.reason_code.as_deref().unwrap_or("cancelled"));
        tracing::info!(order_id = %self.order.id, number = self.order.number, "order cancelled");
        Ok(Next::End(Outcome::Finished(finished)))
    }
}

/// Cancels, tells the world and ends the job, in the transaction open on `conn`.
pub(super) async fn cancel_in(
    conn: &mut Conn,
    mover: Mover,
    order: &SagaOrder,
    cx: &JobContext,
) -> Result<Finished, Abort> {
    let cancelled = saga::cancel(conn, mover, order.id).await?.ok_or(Abort::Lost)?;
    tell_and_finish(conn, cx, &order_cancelled(order, cancelled)).await
}

fn is_open(effect: &Effect) -> bool {
    effect.state == EffectState::Started
}
