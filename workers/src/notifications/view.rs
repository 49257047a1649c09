//! What templates see: everything already in the form people read.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;
use waybill_schema::{
    Currency, Money,
    mails::{LineContext, OrderContext, PersonContext},
};

/// The context of every template; a template uses what it needs.
#[derive(Debug, Serialize)]
pub struct View {
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<OrderView>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    verification: Option<Verification>,
}

/// How an address is proven.
#[derive(Debug, Serialize)]
pub struct Verification {
    /// The secret, once.
    pub token: String,
    /// Where to follow it, if the shop has such a page.
    pub verify_url: Option<String>,
    /// Until when it works.
    pub expires_on: String,
}

#[derive(Debug, Serialize)]
struct OrderView {
    number: i64,
    reference: Option<String>,
    placed_on: String,
    declined: bool,
    reason: Option<String>,
    subtotal: String,
    total: String,
    lines: Vec<LineView>,
    shipping_address: Vec<String>,
    billing_address: Vec<String>,
}

#[derive(Debug, Serialize)]
struct LineView {
    sku: String,
    name: String,
    quantity: i32,
    unit_price: String,
    total: String,
}

impl View {
    /// A view of what the mail speaks of.
    pub fn new(
        person: Option<&PersonContext>,
        order: Option<&OrderContext>,
        verification: Option<Verification>,
    ) -> Self {
        let name = match (person, order) {
            (Some(person), _) => Some(person.first_name.clone()),
            // A guest's name stands on the address.
            (None, Some(order)) => {
                order.shipping_address.get("name").and_then(Value::as_str).map(str::to_owned)
            }
            (None, None) => None,
        };
        Self { name, order: order.map(OrderView::new), verification }
    }
}

impl OrderView {
    fn new(order: &OrderContext) -> Self {
        let amount = |amount: Decimal| money(amount, &order.currency);
        Self {
            number: order.number,
            reference: order.reference.clone(),
            placed_on: date(order.placed_at),
            declined: order.reason_code.as_deref() == Some("payment_declined"),
            reason: order.reason.clone(),
            subtotal: amount(order.subtotal),
            total: amount(order.total),
            lines: order.lines.iter().map(|line| LineView::new(line, &order.currency)).collect(),
            shipping_address: address(&order.shipping_address),
            billing_address: address(&order.billing_address),
        }
    }
}

impl LineView {
    fn new(line: &LineContext, currency: &str) -> Self {
        let name = if line.variant_title.is_empty() {
            line.name.clone()
        } else {
            format!("{}, {}", line.name, line.variant_title)
        };
        Self {
            sku: line.sku.clone(),
            name,
            quantity: line.quantity,
            unit_price: unit_price(line.unit_price, currency),
            total: money(line.total, currency),
        }
    }
}

/// `21 November 2026`.
pub fn date(at: DateTime<Utc>) -> String {
    at.format("%-d %B %Y").to_string()
}

/// `12.30 GBP`: the columns hold four decimals, people see the currency's.
fn money(amount: Decimal, currency: &str) -> String {
    Currency::parse(currency)
        .ok()
        .and_then(|currency| Money::new(amount, currency).ok())
        .map_or_else(|| format!("{} {currency}", amount.normalize()), |money| money.to_string())
}

/// `0.125 GBP` or `12.30 GBP`: all decimals that the price has, at least the currency's.
fn unit_price(amount: Decimal, currency: &str) -> String {
    let decimals = Currency::parse(currency).map_or(2, Currency::decimals);
    let mut amount = amount.normalize();
    if amount.scale() < decimals {
        amount.rescale(decimals);
    }
    format!("{amount} {currency}")
}

fn address(address: &Value) -> Vec<String> {
    let part = |name: &str| {
        address
            .get(name)
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let town = [part("postal_code"), part("city")].into_iter().flatten().collect::<Vec<_>>().join(" ");
    [part("name"), part("line1"), part("line2"), Some(town), part("region"), part("country")]
        .into_iter()
        .flatten()
        .filter(|line| !line.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{address, money, unit_price};

    #[test]
    fn amounts_have_the_currencys_decimals_and_prices_keep_theirs() {
        assert_eq!(money("12.3000".parse().unwrap_or_default(), "GBP"), "12.30 GBP");
        assert_eq!(money("12.0000".parse().unwrap_or_default(), "JPY"), "12 JPY");
        assert_eq!(unit_price("0.1250".parse().unwrap_or_default(), "GBP"), "0.125 GBP");
        assert_eq!(unit_price("3.0000".parse().unwrap_or_default(), "GBP"), "3.00 GBP");
    }

    #[test]
    fn an_address_has_only_the_lines_that_are_there() {
        let full = serde_json::json!({
            "name": "Ada Lovelace", "line1": "12 St James's Square", "line2": " ", "city": "London",
            "postal_code": "SW1Y 4JH", "country": "GB", "phone": "020"
        });
        assert_eq!(address(&full), ["Ada Lovelace", "12 St James's Square", "SW1Y 4JH London", "GB"]);
        assert_eq!(address(&serde_json::json!({})), Vec::<String>::new());
    }
}
