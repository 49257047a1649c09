//! Letting go what is held, giving back what was taken.

use diesel_async::AsyncConnection;
use waybill_jobs::Failure;
use waybill_schema::Conn;
use waybill_schema::effects::{self, Call, EffectState, capture_key, refund_key, void_key};
use waybill_schema::orders::saga::SagaPayment;
use waybill_schema::payments::facts;

use super::advance::Next;
use super::run::Run;
use crate::fail_point;
use crate::payments::pursue::{self, Asked, Pursuit};
use crate::payments::{ALREADY_CAPTURED, Answer, Operation, Refund, Request, Void};

impl Run<'_> {
    pub(super) async fn void(&mut self, payment: &SagaPayment) -> Result<Next, Failure> {
        let authorization_ref =
            payment.authorization_ref.clone().ok_or_else(|| Failure::permanent("nothing to void"))?;
        let request = Request::Void(Void { authorization_ref });
        self.send_back(payment, void_key(self.order.id), request).await
    }

    pub(super) async fn refund(&mut self, payment: &SagaPayment) -> Result<Next, Failure> {
        let capture_ref =
            payment.capture_ref.clone().ok_or_else(|| Failure::permanent("nothing to refund"))?;
        let amount = payment.captured.checked_sub(payment.refunded)?;
        let request = Request::Refund(Refund { capture_ref, amount });
        self.send_back(payment, refund_key(self.order.id), request).await
    }

    /// Announces the effect, brings it to its answer, writes that.
    async fn send_back(
        &mut self,
        payment: &SagaPayment,
        key: String,
        request: Request,
    ) -> Result<Next, Failure> {
        if self.order.effect(&key).is_none() {
            let effect = pursue::new_effect(self.cx, key.clone(), &payment.gateway, self.order.id, &request);
            let cx = self.cx;
            let mut conn = cx.pool.get().await?;
            let new = (*conn)
                .transaction(async |conn: &mut Conn| {
                    cx.guard(conn).await?;
                    Ok::<bool, Failure>(effects::begin(conn, &effect).await?)
                })
                .await?;
            if !new {
                return Ok(Next::Reload);
            }
            self.announce(Some(effect));
        }
        match self.pursue(payment, &key, &request).await? {
            Pursuit::Open { why, .. } => self.ask_again(&key, &why).await,
            Pursuit::Settled(answer) => for_a_person(&request, &answer),
            Pursuit::Answered { answer, calls } => {
                self.sent_back(payment, &key, &request, &answer, &calls).await
            }
        }
    }

    async fn sent_back(
        &mut self,
        payment: &SagaPayment,
        key: &str,
        request: &Request,
        answer: &Answer,
        calls: &[Call],
    ) -> Result<Next, Failure> {
        let captured_after_all = match (request, answer) {
            (Request::Void(_), Answer::Rejected { code, .. }) if code == ALREADY_CAPTURED => {
                match self.late_capture(payment).await? {
                    Ok(capture_ref) => Some(capture_ref),
                    Err(why) => {
                        // The answer says nothing without what was taken: both are asked for again.
                        pursue::replace_last(self.cx, key, calls).await?;
                        return self.ask_again(key, &why).await;
                    }
                }
            }
            _ => None,
        };
        let (cx, order_id, response) = (self.cx, self.order.id, answer.to_ledger());
        let done = matches!(answer, Answer::Succeeded { .. });
        let state = if done { EffectState::Succeeded } else { EffectState::Rejected };
        let mut conn = cx.pool.get().await?;
        (*conn)
            .transaction(async |conn: &mut Conn| {
                cx.guard(conn).await?;
                effects::settle(conn, key, state, &response, true, calls).await?;
                match (request, &captured_after_all) {
                    (Request::Void(_), Some(capture_ref)) => {
                        let authorization_ref = payment.authorization_ref.as_deref().unwrap_or_default();
                        let amount = payment.amount.amount();
                        facts::captured(conn, payment.id, authorization_ref, capture_ref, amount).await?;
                        let answer = Answer::Succeeded {
                            reference: capture_ref.clone(),
                            amount: Some(payment.amount),
                        };
                        effects::correct(conn, &capture_key(order_id), &answer.to_ledger()).await?;
                    }
                    (Request::Void(_), None) if done => {
                        facts::voided(conn, payment.id).await?;
                    }
                    (Request::Refund(_), _) if done => {
                        facts::refunded(conn, payment.id, payment.captured.amount()).await?;
                    }
                    _ => {}
                }
                Ok::<(), Failure>(())
            })
            .await?;
        fail_point!("checkout.after_money_back");
        if done || captured_after_all.is_some() { Ok(Next::Reload) } else { for_a_person(request, answer) }
    }

    /// The gateway says that what we would let go was taken: by a capture that came through after we had given it up. The
    /// gateway's reference of that, or why it could not say.
    async fn late_capture(&self, payment: &SagaPayment) -> Result<Result<String, String>, Failure> {
        let key = capture_key(self.order.id);
        let Some(effect) = self.order.effect(&key) else {
            return Err(Failure::permanent("the payment was captured by somebody else"));
        };
        match pursue::ask(self.gateway(payment)?, self.caller(), effect, Operation::Capture).await {
            Asked::Answer { answer: Answer::Succeeded { reference, .. }, .. } => Ok(Ok(reference)),
            Asked::InVain { error, .. } => Ok(Err(error.to_string())),
            _ => Err(Failure::permanent("the payment was captured by somebody else")),
        }
    }
}

/// Money that the gateway will not give back is for a person to look at: the job becomes a dead letter and the order says
/// that it is being compensated.
fn for_a_person(request: &Request, answer: &Answer) -> Result<Next, Failure> {
    let operation = request.operation().as_str();
    tracing::error!(operation, ?answer, "the gateway refuses to send money back");
    Err(Failure::permanent(format!("{operation} refused: {answer:?}")))
}
