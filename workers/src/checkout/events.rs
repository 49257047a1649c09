//! The facts that the saga tells the world.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use waybill_jobs::events::{OrderCancelled, OrderConfirmed, OrderLine, StockDepleted, StockReplenished};
use waybill_schema::Currency;
use waybill_schema::inventory::Flip;
use waybill_schema::orders::saga::{Cancelled, SagaLine, SagaOrder};

pub(super) fn order_confirmed(order: &SagaOrder, confirmed_at: DateTime<Utc>) -> OrderConfirmed {
    let currency = order.total.currency();
    OrderConfirmed {
        order_id: order.id,
        number: order.number,
        reference: order.reference.clone(),
        customer_id: order.customer_id,
        total: order.total,
        lines: order.lines.iter().map(|line| order_line(line, currency)).collect(),
        confirmed_at,
    }
}

pub(super) fn order_cancelled(order: &SagaOrder, cancelled: Cancelled) -> OrderCancelled {
    OrderCancelled {
        order_id: order.id,
        number: order.number,
        reference: order.reference.clone(),
        customer_id: order.customer_id,
        total: order.total,
        reason_code: cancelled.reason_code,
        reason: cancelled.reason,
        cancelled_at: cancelled.cancelled_at,
    }
}

fn order_line(line: &SagaLine, currency: Currency) -> OrderLine {
    OrderLine {
        sku: line.sku.clone(),
        name: line.name.clone(),
        quantity: line.quantity,
        unit_price: decimal_text(line.unit_price, currency),
        total: decimal_text(line.total, currency),
    }
}

/// At least the currency's decimals, more only where they are not zero.
fn decimal_text(amount: Decimal, currency: Currency) -> String {
    let mut amount = amount.normalize();
    if amount.scale() < currency.decimals() {
        amount.rescale(currency.decimals());
    }
    amount.to_string()
}

/// A flip of availability, as one of the two events.
pub(super) trait StockEvent {
    fn of(line: &SagaLine, flip: Flip) -> Self;
}

impl StockEvent for StockDepleted {
    fn of(line: &SagaLine, flip: Flip) -> Self {
        Self {
            product_id: line.product_id,
            variant_id: line.variant_id,
            sku: line.sku.clone(),
            available: flip.available,
        }
    }
}

impl StockEvent for StockReplenished {
    fn of(line: &SagaLine, flip: Flip) -> Self {
        Self {
            product_id: line.product_id,
            variant_id: line.variant_id,
            sku: line.sku.clone(),
            available: flip.available,
        }
    }
}

/// One event per variant that flipped.
pub(super) fn stock_events<E: StockEvent>(lines: &[SagaLine], flips: &[Flip]) -> Vec<E> {
    let line_of = |flip: &Flip| lines.iter().find(|line| line.variant_id == flip.variant_id);
    flips.iter().filter_map(|flip| line_of(flip).map(|line| E::of(line, *flip))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn decimals_are_those_of_the_currency_or_what_is_needed() {
        for (amount, text) in [("12.5000", "12.50"), ("0.0125", "0.0125"), ("3", "3.00"), ("0.1250", "0.125")]
        {
            assert_eq!(decimal_text(amount.parse().unwrap(), Currency::GBP), text);
        }
        let yen = Currency::parse("JPY").unwrap();
        assert_eq!(decimal_text("500.0000".parse().unwrap(), yen), "500");
    }
}
