//! What must hold when all is done, from the outside: the API, the gateway's books, the mails, the webhooks.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;

use super::faults::Books;
use super::listener::Inbox;
use super::mails;
use super::plan::Purchase;
use super::shopping::Shopping;
use crate::client::Client;
use crate::retail::Dataset;

/// One line of the report.
#[derive(Debug, Clone)]
pub struct Check {
    pub name: String,
    pub expected: String,
    pub found: String,
    pub held: bool,
}

impl Check {
    /// Holds when both are the same.
    pub fn equal(name: &str, expected: impl ToString, found: impl ToString) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        Self { name: name.to_owned(), held: expected == found, expected, found }
    }
}

/// What is compared.
pub struct Evidence<'a> {
    pub data: &'a Dataset,
    pub purchases: &'a [Purchase],
    pub shopping: &'a Shopping,
    pub books_before: &'a Books,
    pub books: Books,
    pub inbox: Inbox,
    pub subjects: Vec<String>,
    pub stock: Vec<Level>,
    pub system: SystemChecks,
}

#[derive(Debug, Deserialize)]
pub struct Level {
    sku: String,
    on_hand: i64,
    reserved: i64,
}

/// The server's own checks of itself.
#[derive(Debug, Deserialize)]
pub struct SystemChecks {
    checks: Vec<SystemCheck>,
}

#[derive(Debug, Deserialize)]
struct SystemCheck {
    name: String,
    ok: bool,
    found: Value,
    expected: Value,
}

impl Evidence<'_> {
    pub async fn stock(client: &Client) -> Result<Vec<Level>> {
        client.all("/v1/admin/stock").await
    }

    pub fn checks(&self) -> Result<Vec<Check>> {
        let mut checks = self.orders()?;
        checks.extend(self.money()?);
        checks.push(self.stock_left());
        checks.extend(self.mails_and_webhooks());
        checks.extend(self.system.checks.iter().map(|check| Check {
            name: check.name.replace('_', " "),
            expected: plain(&check.expected),
            found: plain(&check.found),
            held: check.ok,
        }));
        Ok(checks)
    }

    fn orders(&self) -> Result<Vec<Check>> {
        let purchased = &self.shopping.purchased;
        let declined = self.purchases.iter().filter(|purchase| purchase.declined).count();
        let confirmed = purchased.iter().filter(|p| !p.declined && p.order.is_confirmed()).count();
        let refused = purchased
            .iter()
            .filter(|p| {
                p.declined
                    && p.order.status == "cancelled"
                    && p.order.reason_code.as_deref() == Some("payment_declined")
            })
            .count();
        let mut totals = Decimal::ZERO;
        for purchased in purchased {
            totals += purchased.order.total.value()?;
        }
        Ok(vec![
            Check::equal("orders confirmed", self.purchases.len() - declined, confirmed),
            Check::equal("orders declined by the gateway", declined, refused),
            Check::equal("orders failed otherwise", 0, self.shopping.failures.len()),
            Check::equal("sum of the orders, GBP", gbp(self.data.total()), gbp(totals)),
        ])
    }

    fn money(&self) -> Result<Vec<Check>> {
        let purchased = &self.shopping.purchased;
        let invoiced: Decimal =
            self.purchases.iter().filter(|p| !p.declined).map(|p| p.invoice.total()).sum();
        let mut captured = Decimal::ZERO;
        for purchased in purchased {
            captured += purchased.order.kept()?;
        }
        let other = purchased.iter().filter(|p| {
            let due = if p.order.is_confirmed() { p.invoiced } else { Decimal::ZERO };
            p.order.kept().ok() != Some(due)
        });
        let booked = self.books.kept()? - self.books_before.kept()?;
        let twice = self.books.double_captures - self.books_before.double_captures;
        let declines = self.purchases.iter().filter(|purchase| purchase.declined).count();
        Ok(vec![
            Check::equal("captured, by the orders, GBP", gbp(invoiced), gbp(captured)),
            Check::equal("captured, by the gateway's ledger, GBP", gbp(invoiced), gbp(booked)),
            Check::equal("orders whose capture is not their invoice", 0, other.count()),
            Check::equal(
                "declines, by the gateway",
                declines as u64,
                self.books.declines - self.books_before.declines,
            ),
            Check::equal("orders captured twice, by the gateway", 0, twice),
        ])
    }

    /// As many units were laid in as all invoices need, so those of the declined orders are left.
    fn stock_left(&self) -> Check {
        let mut expected: BTreeMap<&str, i64> =
            self.data.catalogue.iter().map(|product| (product.code.as_str(), 0)).collect();
        for purchase in self.purchases.iter().filter(|purchase| purchase.declined) {
            for line in &purchase.invoice.lines {
                *expected.entry(&line.code).or_default() += line.quantity;
            }
        }
        let found: HashMap<&str, (i64, i64)> =
            self.stock.iter().map(|level| (level.sku.as_str(), (level.on_hand, level.reserved))).collect();
        let right = expected.iter().filter(|(code, units)| found.get(*code) == Some(&(**units, 0))).count();
        Check::equal("products whose stock is right, none reserved", expected.len(), right)
    }

    fn mails_and_webhooks(&self) -> Vec<Check> {
        let confirmed: Vec<_> =
            self.shopping.purchased.iter().filter(|p| p.order.is_confirmed()).map(|p| &p.order).collect();
        let mails: Vec<usize> =
            confirmed.iter().map(|order| mails::about(&self.subjects, &order.number())).collect();
        let mut events: HashMap<_, usize> = HashMap::new();
        for event in self.inbox.events.values() {
            *events.entry(event).or_default() += 1;
        }
        let told = |topic: &str, confirmed: bool| {
            let orders = self.shopping.purchased.iter().filter(|p| p.order.is_confirmed() == confirmed);
            orders.filter(|p| events.contains_key(&(p.order.id, topic.to_owned()))).count()
        };
        let cancelled = self.shopping.purchased.len() - confirmed.len();
        let repeated_mails: usize = mails.iter().map(|count| count.saturating_sub(1)).sum();
        let repeated_events: usize = events.values().map(|count| count - 1).sum();
        vec![
            Check::equal(
                "confirmed orders with a mail",
                confirmed.len(),
                mails.iter().filter(|count| **count > 0).count(),
            ),
            Check::equal("webhooks order.confirmed", confirmed.len(), told("order.confirmed", true)),
            Check::equal("webhooks order.cancelled", cancelled, told("order.cancelled", false)),
            Check::equal("webhooks with a wrong signature", 0, self.inbox.refused),
            Check::equal("duplicates: mails", 0, repeated_mails),
            Check::equal("duplicates: webhooks", 0, repeated_events),
        ]
    }
}

/// Every confirmed order's trail must tell of each kind of thing that happened to it.
pub async fn trails(client: &Client, shopping: &Shopping) -> Result<Check> {
    use futures::{StreamExt, TryStreamExt};

    #[derive(Deserialize)]
    struct Entry {
        source: String,
    }
    #[derive(Deserialize)]
    struct Trail {
        data: Vec<Entry>,
    }
    const SOURCES: [&str; 6] = ["order", "job", "payment", "stock", "mail", "webhook"];

    let orders: Vec<_> =
        shopping.purchased.iter().filter(|p| p.order.is_confirmed()).map(|p| p.order.id).collect();
    let expected = orders.len();
    let whole: Vec<bool> = futures::stream::iter(orders)
        .map(|id| async move {
            let trail: Trail = client.get(&format!("/v1/admin/orders/{id}/trail")).await?;
            let tells = |source| trail.data.iter().any(|entry| entry.source == source);
            anyhow::Ok(SOURCES.into_iter().all(tells))
        })
        .buffer_unordered(8)
        .try_collect()
        .await?;
    Ok(Check::equal(
        "trails that tell everything",
        expected,
        whole.into_iter().filter(|whole| *whole).count(),
    ))
}

fn gbp(amount: Decimal) -> String {
    format!("{amount:.2}")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
