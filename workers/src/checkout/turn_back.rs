//! ... -> compensating: the order will not be; its stock goes back at once.

use diesel_async::AsyncConnection;
use waybill_jobs::events::StockReplenished;
use waybill_jobs::{Failure, Outcome, emit_all};
use waybill_schema::effects::{EffectState, authorize_key};
use waybill_schema::orders::saga::{self, Answered, PaymentRefused, ReasonCode, SagaPayment, TurnBack};
use waybill_schema::{CheckoutStep, Conn, PaymentStatus};

use super::advance::{Abort, Next, unless_lost};
use super::compensate::cancel_in;
use super::events::stock_events;
use super::run::Run;
use crate::fail_point;
use crate::payments::Answer;

/// The gateway's refusal that makes an order turn back.
#[derive(Clone, Copy)]
pub(super) struct Refusal<'a> {
    pub answered: Answered<'a>,
    /// What it makes of the payment; none if something is still held.
    pub payment: Option<PaymentRefused<'a>>,
}

impl Run<'_> {
    /// Turns back. An order without money under way is cancelled in the same transaction.
    pub(super) async fn turn_back(
        &mut self,
        code: ReasonCode,
        reason: &str,
        refusal: Option<Refusal<'_>>,
    ) -> Result<Next, Failure> {
        let cancel = !self.has_money_under_way(refusal.as_ref());
        // An authorization that was announced, and surely never sent, is closed with the order.
        let unsent = self
            .order
            .effect(&authorize_key(self.order.id))
            .filter(|effect| cancel && refusal.is_none() && effect.state == EffectState::Started);
        let never_arrived = Answer::NeverArrived.to_ledger();
        let closed = unsent.map(|effect| Answered {
            key: &effect.key,
            response: &never_arrived,
            calls: effect.calls.last().map(std::slice::from_ref).unwrap_or_default(),
        });
        fail_point!("checkout.before_turn_back");
        let result = {
            let mut conn = self.cx.pool.get().await?;
            let (mover, order, cx) = (self.mover(), &self.order, self.cx);
            let turn = TurnBack {
                from: order.step,
                code,
                reason,
                refused: refusal.map(|refusal| refusal.answered).or(closed),
                payment: refusal.and_then(|refusal| refusal.payment),
            };
            (*conn)
                .transaction(async |conn: &mut Conn| {
                    let flips = saga::turn_back(conn, mover, order.id, turn).await?.ok_or(Abort::Lost)?;
                    let replenished: Vec<StockReplenished> = stock_events(&order.lines, &flips);
                    emit_all(conn, &replenished, Some(cx.id)).await?;
                    let finished = if cancel { Some(cancel_in(conn, mover, order, cx).await?) } else { None };
                    fail_point!("checkout.turning_back");
                    Ok(finished)
                })
                .await
        };
        let Some(finished) = unless_lost(result)? else { return Ok(Next::Reload) };
        fail_point!("checkout.after_turn_back");
        tracing::info!(order_id = %self.order.id, number = self.order.number, code = %code, "order turned back");
        match finished {
            Some(finished) => {
                count_cancelled(code.as_str());
                Ok(Next::End(Outcome::Finished(finished)))
            }
            // What the transaction settled is read anew rather than remembered.
            None => Ok(Next::Reload),
        }
    }

    /// Whether the gateway may hold or have taken something.
    fn has_money_under_way(&self, refusal: Option<&Refusal<'_>>) -> bool {
        if self.order.step == CheckoutStep::Accepted
            || refusal.is_some_and(|refusal| refusal.payment.is_some())
        {
            return false;
        }
        let held_or_taken = |payment: &SagaPayment| {
            payment.status == PaymentStatus::Authorized || payment.captured != payment.refunded
        };
        if self.order.payment.as_ref().is_some_and(held_or_taken) {
            return true;
        }
        match self.order.effect(&authorize_key(self.order.id)) {
            // One that the gateway knows nothing of may still be on its way.
            Some(effect) if effect.state == EffectState::Started => effect.last_sent().is_some(),
            Some(effect) => effect.state == EffectState::Succeeded,
            None => false,
        }
    }
}

pub(super) fn count_cancelled(code: &str) {
    metrics::counter!("waybill_checkouts_total", "outcome" => code.to_owned()).increment(1);
}
