//! authorized -> captured: the gateway takes the amount. What it answers is written by the transaction that confirms.

use waybill_jobs::Failure;
use waybill_schema::effects::{Call, Standing, capture_key};
use waybill_schema::orders::saga::{Answered, ReasonCode, SagaPayment};

use super::advance::Next;
use super::authorize::{capture_request, refusal_reason};
use super::complete::CaptureAnswer;
use super::run::Run;
use super::turn_back::Refusal;
use crate::payments::pursue::{self, Asked, Pursuit};
use crate::payments::{Answer, Operation};

impl Run<'_> {
    /// Brings the capture to its answer.
    pub(super) async fn capture(&mut self) -> Result<Next, Failure> {
        let Some(payment) = self.order.payment.clone() else {
            return Err(Failure::permanent("an authorized order has no payment"));
        };
        let Some(authorization_ref) = payment.authorization_ref.as_deref() else {
            return Err(Failure::permanent("an authorized payment has no authorization"));
        };
        let key = capture_key(self.order.id);
        if self.is_expired() {
            return self.capture_or_expire(&payment, &key).await;
        }
        let request = capture_request(&payment, authorization_ref);
        match self.pursue(&payment, &key, &request).await? {
            Pursuit::Answered { answer, calls } => self.captured(&payment, &key, answer, calls).await,
            Pursuit::Settled(answer) => self.captured(&payment, &key, answer, Vec::new()).await,
            Pursuit::Open { why, retry_after } => self.gateway_trouble(&key, &why, retry_after).await,
        }
    }

    /// The deadline has passed, but the money may be taken: then the order is confirmed, not undone.
    async fn capture_or_expire(&mut self, payment: &SagaPayment, key: &str) -> Result<Next, Failure> {
        let sent = self.order.effect(key).filter(|effect| matches!(effect.standing(), Standing::Unknown(_)));
        if let Some(effect) = sent {
            let asked = pursue::ask(self.gateway(payment)?, self.caller(), effect, Operation::Capture).await;
            if let Asked::Answer { answer: answer @ Answer::Succeeded { .. }, calls } = asked {
                return self.captured(payment, key, answer, calls).await;
            }
        }
        self.expire().await
    }

    async fn captured(
        &mut self,
        payment: &SagaPayment,
        key: &str,
        answer: Answer,
        calls: Vec<Call>,
    ) -> Result<Next, Failure> {
        let response = answer.to_ledger();
        let answered = Answered { key, response: &response, calls: &calls };
        match &answer {
            Answer::Succeeded { amount: Some(amount), .. } if *amount != payment.amount => {
                // Never seen; a person must look before more happens to this money.
                Err(Failure::permanent(format!("the gateway took {amount} instead of {}", payment.amount)))
            }
            Answer::Succeeded { reference, .. } => {
                self.complete(Some(CaptureAnswer { capture_ref: reference, answered })).await
            }
            refused => {
                // What is held stays so, and is let go on the way back.
                let code = match refused {
                    Answer::Declined { .. } => ReasonCode::PaymentDeclined,
                    _ => ReasonCode::PaymentFailed,
                };
                let reason = refusal_reason(refused);
                self.turn_back(code, &reason, Some(Refusal { answered, payment: None })).await
            }
        }
    }
}
