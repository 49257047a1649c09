//! Letting go what a gateway holds for an order that was cancelled without knowing of it: a request that arrived after
//! everybody had given it up.

use std::time::Duration;

use diesel_async::AsyncConnection;
use waybill_jobs::{Failure, JobContext, Outcome};
use waybill_schema::Conn;
use waybill_schema::effects::{self, EffectState, void_key};
use waybill_schema::payments::{Payment, facts};
use waybill_schema::system::outages::Standing;

use super::gateway::{Answer, Fact, Request, Void};
use super::gateways::GatewayHandle;
use super::pursue::{self, Pursuit};

/// Voids what `fact` tells of; none once it is let go, else how the attempt ends.
pub(super) async fn let_go(
    gateway: &GatewayHandle,
    provider: &str,
    cx: &JobContext,
    payment: &Payment,
    fact: &Fact,
) -> Result<Option<Outcome>, Failure> {
    let key = void_key(payment.order_id);
    let request = Request::Void(Void { authorization_ref: fact.authorization_ref.clone() });
    let mut conn = cx.pool.get().await?;
    let announced = (*conn)
        .transaction(async |conn: &mut Conn| {
            cx.guard(conn).await?;
            let effect = pursue::new_effect(cx, key.clone(), provider, payment.order_id, &request);
            Ok::<bool, Failure>(effects::begin(conn, &effect).await?)
        })
        .await?;
    let effect = effects::find(&mut conn, &key).await?;
    let caller = gateway.dependency().caller(&mut conn, cx).await?;
    drop(conn);
    let effect = effect.ok_or_else(|| Failure::retryable(format!("the effect {key} is gone")))?;
    let pursuit = pursue::pursue(gateway, caller, &effect, &request, announced).await;
    if caller.standing == Standing::Probe {
        gateway.dependency().over(cx).await;
    }
    let (answer, calls) = match pursuit? {
        Pursuit::Answered { answer, calls } => (answer, calls),
        Pursuit::Settled(answer) => (answer, Vec::new()),
        Pursuit::Open { why, retry_after } => {
            let reason = format!("gateway: {why}");
            if let Some(waits) = gateway.dependency().wait(cx, &reason).await? {
                return Ok(Some(Outcome::Finished(waits)));
            }
            let after = retry_after.unwrap_or_default().max(Duration::from_secs(5));
            return Ok(Some(Outcome::Snooze { after, reason }));
        }
    };
    let done = matches!(answer, Answer::Succeeded { .. });
    let state = if done { EffectState::Succeeded } else { EffectState::Rejected };
    let mut conn = cx.pool.get().await?;
    (*conn)
        .transaction(async |conn: &mut Conn| {
            cx.guard(conn).await?;
            effects::settle(conn, &key, state, &answer.to_ledger(), true, &calls).await?;
            facts::late_authorization(conn, payment.id, &fact.authorization_ref).await?;
            Ok::<(), Failure>(())
        })
        .await?;
    if done { Ok(None) } else { Err(Failure::permanent(format!("a late hold is not let go: {answer:?}"))) }
}
