//! What a gateway tells us by webhook.
//!
//! The checkout does not wait for these: it asks for answers itself. An event is a second witness. It moves the payment
//! forward if it is news, is dropped if it is not, whenever and however often it comes, and raises an alarm if it
//! contradicts what we know. It never moves the order; the saga does that from the payment.

use diesel_async::AsyncConnection;
use waybill_jobs::{Failure, JobContext, JobResult, Outcome, kinds::HandleGatewayEvent};
use waybill_schema::payments::{Payment, facts, find_for_event, gateway_events};
use waybill_schema::{CheckoutStep, Conn, PaymentStatus};

use super::PaymentsDeps;
use super::gateway::{Fact, FactKind};
use super::late_hold;
use crate::fail_point;

/// What came of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It was news.
    Recorded,
    /// We knew.
    Known,
    /// It contradicts what we know: a person must look.
    Conflict,
    /// It is not about a payment of ours.
    UnknownPayment,
    /// We take no interest in its kind.
    Ignored,
    /// It is not as the gateway documents it.
    Unreadable,
    /// Something is held for an order that was cancelled: to be let go.
    LateHold,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Known => "known",
            Self::Conflict => "conflict",
            Self::UnknownPayment => "unknown_payment",
            Self::Ignored => "ignored",
            Self::Unreadable => "unreadable",
            Self::LateHold => "let_go",
        }
    }
}

/// Handles one stored event, once.
pub(super) async fn handle(deps: &PaymentsDeps, job: &HandleGatewayEvent, cx: &JobContext) -> JobResult {
    let stored = {
        let mut conn = cx.pool.get().await?;
        gateway_events::find(&mut conn, &job.gateway, &job.event_id).await?
    };
    let Some(event) = stored else {
        return Ok(Outcome::Discard("there is no such event".to_owned()));
    };
    if event.handled_at.is_some() {
        return Ok(Outcome::done());
    }
    let gateway = deps
        .gateways
        .get(&job.gateway)
        .ok_or_else(|| Failure::retryable(format!("this worker knows no gateway {:?}", job.gateway)))?;
    let fact = match gateway.read_event(&event.payload) {
        Ok(fact) => fact,
        Err(error) => {
            tracing::error!(gateway = job.gateway, event_id = job.event_id, %error, "gateway event");
            return finish(job, cx, None, Verdict::Unreadable).await;
        }
    };
    if fact.kind == FactKind::Other {
        return finish(job, cx, None, Verdict::Ignored).await;
    }
    // Twice is enough: what moved the payment was its saga's next step or last.
    for _ in 0..3 {
        let payment = {
            let mut conn = cx.pool.get().await?;
            let order_id = fact.order_id.or(job.order_id);
            find_for_event(&mut conn, &job.gateway, &fact.authorization_ref, order_id).await?
        };
        let Some(payment) = payment else { return finish(job, cx, None, Verdict::UnknownPayment).await };
        match judge(&payment, &fact) {
            Verdict::LateHold => {
                if let Some(outcome) = late_hold::let_go(gateway, &job.gateway, cx, &payment, &fact).await? {
                    return Ok(outcome);
                }
                return finish(job, cx, Some(&payment), Verdict::LateHold).await;
            }
            Verdict::Recorded => {
                if let Some(outcome) = record(job, cx, &payment, &fact).await? {
                    return Ok(outcome);
                }
            }
            verdict => {
                if verdict == Verdict::Conflict {
                    tracing::error!(gateway = job.gateway, event_id = job.event_id, order_id = %payment.order_id,
                        status = %payment.status, fact = ?fact.kind, "the gateway contradicts what we know");
                }
                return finish(job, cx, Some(&payment), verdict).await;
            }
        }
    }
    Ok(Outcome::RetryIn {
        after: std::time::Duration::from_secs(1),
        reason: "the payment is moving".to_owned(),
    })
}

/// Compares a fact with what is known: one paragraph for each kind of fact.
#[allow(clippy::match_same_arms, reason = "told by kind of fact, not by verdict")]
fn judge(payment: &Payment, fact: &Fact) -> Verdict {
    use PaymentStatus as Status;
    let another_hold =
        payment.authorization_ref.as_deref().is_some_and(|known| known != fact.authorization_ref);
    if another_hold && !matches!(fact.kind, FactKind::Declined { .. }) {
        return Verdict::Conflict;
    }
    let given_up = payment.step == CheckoutStep::Compensated && payment.captured.is_zero();
    match (&fact.kind, payment.status) {
        (FactKind::Authorized(_), Status::Pending) => Verdict::Recorded,
        (FactKind::Authorized(_), Status::Voided | Status::Failed)
            if given_up && payment.authorization_ref.is_none() =>
        {
            Verdict::LateHold
        }
        (FactKind::Authorized(_), Status::Declined) => Verdict::Conflict,

        (FactKind::Declined { .. }, Status::Pending) => Verdict::Recorded,
        (FactKind::Declined { .. }, Status::Declined | Status::Failed | Status::Voided) => Verdict::Known,
        (FactKind::Declined { .. }, _) => Verdict::Conflict,

        (FactKind::Captured { amount, .. }, Status::Pending | Status::Authorized) => {
            if amount.amount() <= payment.amount { Verdict::Recorded } else { Verdict::Conflict }
        }
        (FactKind::Captured { .. }, Status::Voided | Status::Declined | Status::Failed) => Verdict::Conflict,

        (FactKind::Voided, Status::Pending | Status::Authorized) => Verdict::Recorded,
        (FactKind::Voided, Status::Captured | Status::PartiallyRefunded | Status::Refunded) => {
            Verdict::Conflict
        }

        (FactKind::Refunded { amount }, Status::Captured | Status::PartiallyRefunded) => {
            // More than was taken cannot go back: this is the refund that we know of.
            let total = payment.refunded + amount.amount();
            if total <= payment.captured { Verdict::Recorded } else { Verdict::Known }
        }
        (FactKind::Refunded { .. }, Status::Refunded) => Verdict::Known,
        (FactKind::Refunded { .. }, _) => Verdict::Conflict,

        (FactKind::Authorized(_) | FactKind::Captured { .. } | FactKind::Voided | FactKind::Other, _) => {
            Verdict::Known
        }
    }
}

/// Moves the payment, marks the event, ends the job: together. None if the payment was moved by somebody else.
async fn record(
    job: &HandleGatewayEvent,
    cx: &JobContext,
    payment: &Payment,
    fact: &Fact,
) -> Result<Option<Outcome>, Failure> {
    let mut conn = cx.pool.get().await?;
    let result = (*conn)
        .transaction(async |conn: &mut Conn| {
            let id = payment.id;
            let news = match &fact.kind {
                FactKind::Authorized(_) => facts::authorized(conn, id, &fact.authorization_ref).await?,
                FactKind::Declined { code } => {
                    facts::refused(conn, id, PaymentStatus::Declined, code).await?
                }
                FactKind::Captured { capture_ref, amount } => {
                    let amount = amount.amount();
                    facts::captured(conn, id, &fact.authorization_ref, capture_ref, amount).await?
                }
                FactKind::Voided => facts::voided(conn, id).await?,
                FactKind::Refunded { amount } => {
                    facts::refunded(conn, id, payment.refunded + amount.amount()).await?
                }
                FactKind::Other => false,
            };
            if !news {
                return Ok(None);
            }
            mark(conn, job, Some(payment), Verdict::Recorded).await?;
            let finished = cx.finish(conn, None).await?;
            fail_point!("gateway_event.before_commit");
            Ok::<_, Failure>(Some(Outcome::Finished(finished)))
        })
        .await?;
    if result.is_some() {
        fail_point!("gateway_event.after_commit");
        count(Verdict::Recorded);
    }
    Ok(result)
}

/// Marks the event, which may be done twice; so the job's end need not be in the same transaction, and can be written with
/// others'.
async fn finish(
    job: &HandleGatewayEvent,
    cx: &JobContext,
    payment: Option<&Payment>,
    verdict: Verdict,
) -> JobResult {
    let mut conn = cx.pool.get().await?;
    mark(&mut conn, job, payment, verdict).await?;
    count(verdict);
    Ok(Outcome::done())
}

async fn mark(
    conn: &mut Conn,
    job: &HandleGatewayEvent,
    payment: Option<&Payment>,
    verdict: Verdict,
) -> Result<(), Failure> {
    let order_id = payment.map(|payment| payment.order_id);
    gateway_events::handled(conn, &job.gateway, &job.event_id, verdict.as_str(), order_id).await?;
    Ok(())
}

fn count(verdict: Verdict) {
    metrics::counter!("waybill_gateway_events_total", "outcome" => verdict.as_str()).increment(1);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rust_decimal::Decimal;
    use uuid::Uuid;
    use waybill_schema::{Currency, Money};

    fn payment(status: PaymentStatus, step: CheckoutStep, known: Option<&str>) -> Payment {
        let taken = matches!(status, PaymentStatus::Captured | PaymentStatus::PartiallyRefunded);
        Payment {
            id: Uuid::nil(),
            order_id: Uuid::nil(),
            step,
            status,
            amount: Decimal::from(10),
            currency: "GBP".into(),
            authorization_ref: known.map(str::to_owned),
            capture_ref: None,
            captured: Decimal::from(if taken { 10 } else { 0 }),
            refunded: Decimal::from(0),
        }
    }

    fn verdict(status: PaymentStatus, step: CheckoutStep, known: Option<&str>, kind: FactKind) -> Verdict {
        let fact = Fact { kind, authorization_ref: "auth_1".into(), order_id: None };
        judge(&payment(status, step, known), &fact)
    }

    fn pounds(amount: i64) -> Money {
        Money::new(Decimal::from(amount), Currency::GBP).unwrap()
    }

    #[test]
    fn facts_only_move_a_payment_forward() {
        use CheckoutStep::{Authorized, Completed, Reserved};
        use PaymentStatus as Status;
        let authorized = || FactKind::Authorized(pounds(10));
        let captured = || FactKind::Captured { capture_ref: "cap_1".into(), amount: pounds(10) };
        assert_eq!(verdict(Status::Pending, Reserved, None, authorized()), Verdict::Recorded);
        assert_eq!(verdict(Status::Authorized, Authorized, Some("auth_1"), authorized()), Verdict::Known);
        assert_eq!(verdict(Status::Captured, Completed, Some("auth_1"), authorized()), Verdict::Known);
        // The capture's event overtook the authorization's.
        assert_eq!(verdict(Status::Pending, Reserved, None, captured()), Verdict::Recorded);
        assert_eq!(verdict(Status::Captured, Completed, Some("auth_1"), captured()), Verdict::Known);
        let refund = |amount| FactKind::Refunded { amount: pounds(amount) };
        assert_eq!(verdict(Status::Captured, Completed, Some("auth_1"), refund(4)), Verdict::Recorded);
        assert_eq!(verdict(Status::Captured, Completed, Some("auth_1"), refund(11)), Verdict::Known);
    }

    #[test]
    fn contradictions_raise_an_alarm() {
        use CheckoutStep::{Compensated, Completed};
        use PaymentStatus as Status;
        let captured = |amount| FactKind::Captured { capture_ref: "cap_1".into(), amount: pounds(amount) };
        assert_eq!(verdict(Status::Voided, Compensated, Some("auth_1"), captured(10)), Verdict::Conflict);
        assert_eq!(
            verdict(Status::Pending, CheckoutStep::Authorized, Some("auth_1"), captured(11)),
            Verdict::Conflict
        );
        assert_eq!(
            verdict(Status::Captured, Completed, Some("auth_2"), FactKind::Authorized(pounds(10))),
            Verdict::Conflict
        );
        assert_eq!(verdict(Status::Captured, Completed, Some("auth_1"), FactKind::Voided), Verdict::Conflict);
    }

    #[test]
    fn a_hold_that_comes_to_light_after_the_cancellation_is_let_go() {
        use PaymentStatus as Status;
        let authorized = || FactKind::Authorized(pounds(10));
        assert_eq!(verdict(Status::Voided, CheckoutStep::Compensated, None, authorized()), Verdict::LateHold);
        assert_eq!(
            verdict(Status::Voided, CheckoutStep::Compensated, Some("auth_1"), authorized()),
            Verdict::Known
        );
    }
}
