//! reserved -> authorized: the gateway holds the amount.

use waybill_jobs::Failure;
use waybill_schema::effects::{NewEffect, authorize_key, capture_key};
use waybill_schema::orders::saga::{self, Answered, Authorized, PaymentRefused, ReasonCode, SagaPayment};
use waybill_schema::{CheckoutStep, PaymentStatus};

use super::advance::Next;
use super::run::Run;
use super::turn_back::Refusal;
use crate::fail_point;
use crate::payments::{Answer, Capture, GatewayHandle, Request, pursue, pursue::Pursuit};

impl Run<'_> {
    /// Brings the authorization to its answer; writes that and announces the capture in one transaction.
    pub(super) async fn authorize(&mut self) -> Result<Next, Failure> {
        if self.order.total.amount().is_zero() {
            return self.complete(None).await;
        }
        let (Some(payment), Some(request)) = (self.order.payment.clone(), self.authorize_request()) else {
            return self.turn_back(ReasonCode::PaymentFailed, "there is no means of payment", None).await;
        };
        if self.is_expired() {
            return self.expire().await;
        }
        if !matches!(
            payment.status,
            PaymentStatus::Pending
                | PaymentStatus::Authorized
                | PaymentStatus::Declined
                | PaymentStatus::Failed
        ) {
            // The gateway told of a move that we never asked for.
            let reason =
                format!("the payment was {} at the gateway", payment.status.as_str().replace('_', " "));
            return self.turn_back(ReasonCode::PaymentFailed, &reason, None).await;
        }
        let key = authorize_key(self.order.id);
        let pursuit = self.pursue(&payment, &key, &request).await?;
        let (answer, calls) = match pursuit {
            Pursuit::Answered { answer, calls } => (answer, calls),
            Pursuit::Settled(answer) => (answer, Vec::new()),
            Pursuit::Open { why, retry_after } => return self.gateway_trouble(&key, &why, retry_after).await,
        };
        let response = answer.to_ledger();
        let answered = Answered { key: &key, response: &response, calls: &calls };
        match &answer {
            Answer::Succeeded { reference, .. } => {
                let capture = self.new_capture(&payment, reference);
                let move_ = Authorized {
                    payment_id: payment.id,
                    authorization_ref: reference,
                    answered,
                    capture: &capture,
                };
                let moved = {
                    let mut conn = self.cx.pool.get().await?;
                    saga::authorized(&mut conn, self.mover(), self.order.id, move_).await?
                };
                if moved.is_none() {
                    return Ok(Next::Reload);
                }
                fail_point!("checkout.after_authorized");
                if let Some(payment) = &mut self.order.payment {
                    payment.status = PaymentStatus::Authorized;
                    payment.authorization_ref = Some(reference.clone());
                }
                self.announce(Some(capture));
                Ok(Next::Step(CheckoutStep::Authorized))
            }
            refused => {
                let (code, status, refusal_code) = match refused {
                    Answer::Declined { code } => (ReasonCode::PaymentDeclined, PaymentStatus::Declined, code),
                    Answer::Rejected { code, .. } => (ReasonCode::PaymentFailed, PaymentStatus::Failed, code),
                    Answer::Succeeded { .. } | Answer::NeverArrived => {
                        return Err(Failure::permanent(
                            "an order at reserved has given its authorization up",
                        ));
                    }
                };
                let payment = Some(PaymentRefused { id: payment.id, status, code: refusal_code });
                let reason = refusal_reason(refused);
                self.turn_back(code, &reason, Some(Refusal { answered, payment })).await
            }
        }
    }

    /// The gateway of a payment.
    pub(super) fn gateway(&self, payment: &SagaPayment) -> Result<&GatewayHandle, Failure> {
        self.deps.gateways.get(&payment.gateway).ok_or_else(|| {
            // Another worker, of a newer version, may know it.
            Failure::retryable(format!("this worker knows no gateway {:?}", payment.gateway))
        })
    }

    pub(super) async fn pursue(
        &mut self,
        payment: &SagaPayment,
        key: &str,
        request: &Request,
    ) -> Result<Pursuit, Failure> {
        let announced = self.announced.take().is_some_and(|announced| announced == key);
        let gateway = self.gateway(payment)?;
        let effect = self
            .order
            .effect(key)
            .ok_or_else(|| Failure::permanent(format!("the effect {key} was never announced")))?;
        pursue::pursue(gateway, self.caller(), effect, request, announced).await
    }

    fn new_capture(&self, payment: &SagaPayment, authorization_ref: &str) -> NewEffect {
        let request = capture_request(payment, authorization_ref);
        let (key, id) = (capture_key(self.order.id), self.order.id);
        pursue::new_effect(self.cx, key, &payment.gateway, id, &request)
    }
}

/// All that is held is taken.
pub(super) fn capture_request(payment: &SagaPayment, authorization_ref: &str) -> Request {
    Request::Capture(Capture { authorization_ref: authorization_ref.to_owned(), amount: payment.amount })
}

/// A refusal for people.
pub(super) fn refusal_reason(answer: &Answer) -> String {
    match answer {
        Answer::Declined { code } => format!("declined: {}", code.replace('_', " ")),
        Answer::Rejected { code, message } if message.is_empty() => {
            format!("the payment gateway refused: {code}")
        }
        Answer::Rejected { message, .. } => format!("the payment gateway refused: {message}"),
        Answer::Succeeded { .. } | Answer::NeverArrived => "the payment failed".to_owned(),
    }
}
