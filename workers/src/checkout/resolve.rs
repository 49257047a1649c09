//! Finding out, on the way back, what became of a call whose answer was lost.

use std::time::Duration;

use diesel_async::AsyncConnection;
use waybill_jobs::{Failure, Outcome};
use waybill_schema::effects::{self, Call, Effect, EffectState, Standing};
use waybill_schema::orders::saga::SagaPayment;
use waybill_schema::payments::facts;
use waybill_schema::{Conn, PaymentStatus};

use super::advance::Next;
use super::run::Run;
use crate::fail_point;
use crate::payments::pursue::{self, Asked};
use crate::payments::{Answer, Operation};

impl Run<'_> {
    /// Asks until the gateway says what it did. A request of which it knows nothing may still be on its way, as long as
    /// the caller would have waited for its answer; only then it counts as never arrived. (Should an authorization arrive
    /// even later, the gateway's webhook tells, and it is let go.)
    pub(super) async fn resolve(
        &mut self,
        payment: &SagaPayment,
        effect: &Effect,
        operation: Operation,
    ) -> Result<Next, Failure> {
        if effect.standing() == Standing::Untried && effect.last_sent().is_none() {
            return self.settle(payment, effect, operation, Answer::NeverArrived, None).await;
        }
        let gateway = self.gateway(payment)?;
        let patience = gateway.timeout();
        fail_point!("checkout.before_resolve");
        match pursue::ask(gateway, self.caller(), effect, operation).await {
            Asked::Answer { answer, calls } => {
                self.settle(payment, effect, operation, answer, Some(&calls)).await
            }
            Asked::NotFound { calls } => {
                let since = effect
                    .last_sent()
                    .map_or(Duration::MAX, |sent| (self.now() - sent).to_std().unwrap_or_default());
                if since >= patience {
                    return self.settle(payment, effect, operation, Answer::NeverArrived, Some(&calls)).await;
                }
                pursue::replace_last(self.cx, &effect.key, &calls).await?;
                let reason = "a call to the gateway may still be on its way".to_owned();
                let after = patience.saturating_sub(since) + Duration::from_millis(50);
                Ok(Next::End(Outcome::Snooze { after, reason }))
            }
            Asked::InVain { error, calls } => {
                pursue::replace_last(self.cx, &effect.key, &calls).await?;
                self.ask_again(&effect.key, &error.to_string()).await
            }
        }
    }

    /// On the way back nothing is held any more but the gateway's answer: it is waited for as long as it takes.
    pub(super) async fn ask_again(&self, key: &str, why: &str) -> Result<Next, Failure> {
        self.wait_or_snooze(self.retry_delay(key), why).await
    }

    /// Writes the answer, and what it makes of the payment.
    async fn settle(
        &mut self,
        payment: &SagaPayment,
        effect: &Effect,
        operation: Operation,
        answer: Answer,
        calls: Option<&[Call]>,
    ) -> Result<Next, Failure> {
        let state = match answer {
            Answer::Succeeded { .. } => EffectState::Succeeded,
            _ => EffectState::Rejected,
        };
        let (cx, response) = (self.cx, answer.to_ledger());
        let mut conn = cx.pool.get().await?;
        (*conn)
            .transaction(async |conn: &mut Conn| {
                cx.guard(conn).await?;
                let (answered, calls) = (calls.is_some(), calls.unwrap_or_default());
                effects::settle(conn, &effect.key, state, &response, answered, calls).await?;
                match (operation, &answer) {
                    (Operation::Authorize, Answer::Succeeded { reference, .. }) => {
                        facts::authorized(conn, payment.id, reference).await?;
                    }
                    (Operation::Authorize, Answer::Declined { code }) => {
                        facts::refused(conn, payment.id, PaymentStatus::Declined, code).await?;
                    }
                    (Operation::Authorize, Answer::Rejected { code, .. }) => {
                        facts::refused(conn, payment.id, PaymentStatus::Failed, code).await?;
                    }
                    (Operation::Capture, Answer::Succeeded { reference, .. }) => {
                        let authorization_ref = payment.authorization_ref.as_deref().unwrap_or_default();
                        let amount = payment.amount.amount();
                        facts::captured(conn, payment.id, authorization_ref, reference, amount).await?;
                    }
                    _ => {}
                }
                Ok::<(), Failure>(())
            })
            .await?;
        fail_point!("checkout.after_resolve");
        Ok(Next::Reload)
    }
}
