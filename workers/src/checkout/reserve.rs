//! accepted -> reserved: all lines or nothing, before anybody is charged.

use std::time::Duration;

use chrono::TimeDelta;
use diesel_async::AsyncConnection;
use rand::Rng;
use uuid::Uuid;
use waybill_jobs::events::StockDepleted;
use waybill_jobs::{Failure, Outcome, emit_all};
use waybill_schema::effects::{Effect, EffectState, NewEffect, authorize_key};
use waybill_schema::inventory::{Allocation, Need, allocate, lock_levels, needs, read_levels};
use waybill_schema::orders::saga::{self, ReasonCode, Reservation};
use waybill_schema::{CheckoutStep, Conn};

use super::advance::{Abort, Next, unless_lost};
use super::events::stock_events;
use super::run::Run;
use crate::fail_point;
use crate::payments::{Authorize, Request, pursue};

/// How long to wait before looking again for units that others hold, in milliseconds. Others take a few hundred: two calls
/// to a gateway.
const LOOK_AGAIN_MS: std::ops::Range<u64> = 200..500;

enum Attempt {
    Reserved(chrono::DateTime<chrono::Utc>),
    Wait,
    Short(Vec<Uuid>),
}

impl Run<'_> {
    /// Holds the stock and announces the authorization in one transaction.
    pub(super) async fn reserve(&mut self) -> Result<Next, Failure> {
        let needs = needs(self.order.lines.iter().map(|line| (line.variant_id, line.quantity)));
        let variants: Vec<Uuid> = needs.iter().map(|need| need.variant_id).collect();
        if self.is_waiting() && self.is_still_held(&needs, &variants).await? {
            return self.wait_for_stock().await;
        }
        let authorization = self.authorization();
        fail_point!("checkout.before_reserve");
        let result = {
            let mut conn = self.cx.pool.get().await?;
            let (mover, order, ttl, cause) =
                (self.mover(), &self.order, self.deps.reservation_ttl, self.cx.id);
            let authorization = authorization.as_ref();
            (*conn)
                .transaction(async |conn: &mut Conn| {
                    let levels = lock_levels(conn, &variants).await?;
                    let (takes, depleted) = match allocate(&needs, &levels) {
                        Allocation::Reserve { takes, depleted } => (takes, depleted),
                        Allocation::Wait(_) => return Ok(Attempt::Wait),
                        Allocation::Short(missing) => return Ok(Attempt::Short(missing)),
                    };
                    let reservation = Reservation { takes: &takes, ttl, authorize: authorization };
                    let reserved =
                        saga::reserve(conn, mover, order.id, reservation).await?.ok_or(Abort::Lost)?;
                    let depleted: Vec<StockDepleted> = stock_events(&order.lines, &depleted);
                    emit_all(conn, &depleted, Some(cause)).await?;
                    fail_point!("checkout.reserving");
                    Ok(Attempt::Reserved(reserved.reserved_until))
                })
                .await
        };
        match unless_lost(result)? {
            None => Ok(Next::Reload),
            Some(Attempt::Reserved(until)) => {
                fail_point!("checkout.after_reserve");
                self.order.reserved_until = Some(until);
                self.order.reason_code = None;
                self.announce(authorization);
                Ok(Next::Step(CheckoutStep::Reserved))
            }
            Some(Attempt::Wait) => self.wait_for_stock().await,
            Some(Attempt::Short(missing)) => self.out_of_stock(&missing).await,
        }
    }

    /// Remembers an effect that was just written, with the call that this run makes next.
    pub(super) fn announce(&mut self, effect: Option<NewEffect>) {
        let Some(effect) = effect else { return };
        self.announced = Some(effect.key.clone());
        self.order.effects.push(Effect {
            key: effect.key,
            kind: effect.kind.to_owned(),
            provider: effect.provider,
            state: EffectState::Started,
            request: effect.request,
            response: None,
            started_at: effect.call.at,
            calls: vec![effect.call],
        });
    }

    fn authorization(&self) -> Option<NewEffect> {
        let request = self.authorize_request()?;
        let provider = &self.order.payment.as_ref()?.gateway;
        Some(pursue::new_effect(self.cx, authorize_key(self.order.id), provider, self.order.id, &request))
    }

    /// What is asked of the gateway; nothing for an order that costs nothing.
    pub(super) fn authorize_request(&self) -> Option<Request> {
        let payment = self.order.payment.as_ref().filter(|payment| !payment.amount.amount().is_zero())?;
        Some(Request::Authorize(Authorize {
            amount: payment.amount,
            token: payment.method_token.clone(),
            reference: self.order.id.to_string(),
        }))
    }

    fn is_waiting(&self) -> bool {
        self.order.reason_code.as_deref() == Some(ReasonCode::WaitingForStock.as_str())
    }

    /// A look without locks, so that those who wait do not stand in the way of those who sell.
    async fn is_still_held(&self, needs: &[Need], variants: &[Uuid]) -> Result<bool, Failure> {
        let mut conn = self.cx.pool.get().await?;
        let levels = read_levels(&mut conn, variants).await?;
        Ok(matches!(allocate(needs, &levels), Allocation::Wait(_)))
    }

    /// The units are there but promised to checkouts that may yet fail: nobody is refused for those. The wait is counted
    /// from the first look, not from the order's acceptance, so that a long queue does not use it up.
    async fn wait_for_stock(&mut self) -> Result<Next, Failure> {
        let waited = if self.is_waiting() { self.now() - self.order.updated_at } else { TimeDelta::zero() };
        if waited.to_std().unwrap_or_default() >= self.deps.stock_wait {
            let reason = "the units left are held by other checkouts";
            return self.turn_back(ReasonCode::OutOfStock, reason, None).await;
        }
        if !self.is_waiting() {
            let reason = "the units left are held by other checkouts; waiting for one of them to fail";
            let mut conn = self.cx.pool.get().await?;
            let (mover, id) = (self.mover(), self.order.id);
            saga::note(&mut conn, mover, id, CheckoutStep::Accepted, ReasonCode::WaitingForStock, reason)
                .await?;
        }
        let after = Duration::from_millis(rand::rng().random_range(LOOK_AGAIN_MS));
        Ok(Next::End(Outcome::Snooze { after, reason: ReasonCode::WaitingForStock.to_string() }))
    }

    async fn out_of_stock(&mut self, missing: &[Uuid]) -> Result<Next, Failure> {
        let mut skus: Vec<&str> = self
            .order
            .lines
            .iter()
            .filter(|line| missing.contains(&line.variant_id))
            .map(|line| line.sku.as_str())
            .collect();
        skus.dedup();
        let reason = format!("not enough in stock: {}", skus.join(", "));
        self.turn_back(ReasonCode::OutOfStock, &reason, None).await
    }
}
