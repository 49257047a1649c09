//! An order as the API shows it: the fields that the demonstration looks at.

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::Deserialize;
use uuid::Uuid;

#[derive(Debug, Clone, Deserialize)]
pub struct Order {
    pub id: Uuid,
    /// A number or a text of digits.
    number: serde_json::Value,
    pub status: String,
    pub reason_code: Option<String>,
    pub total: Money,
    pub payment: Option<Payment>,
    pub placed_at: DateTime<Utc>,
    pub confirmed_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub guest_token: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Money {
    amount: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Payment {
    pub captured: Money,
    pub refunded: Money,
}

impl Money {
    pub fn value(&self) -> Result<Decimal> {
        self.amount.parse().with_context(|| format!("the amount {:?}", self.amount))
    }
}

impl Order {
    pub fn number(&self) -> String {
        self.number.as_str().map_or_else(|| self.number.to_string(), str::to_owned)
    }

    pub fn is_pending(&self) -> bool {
        self.status == "pending"
    }

    pub fn is_confirmed(&self) -> bool {
        self.status == "confirmed"
    }

    /// Taken from the buyer and not given back, GBP.
    pub fn kept(&self) -> Result<Decimal> {
        match &self.payment {
            Some(payment) => Ok(payment.captured.value()? - payment.refunded.value()?),
            None => Ok(Decimal::ZERO),
        }
    }

    /// Milliseconds from acceptance to confirmation, by the server's clock.
    pub fn confirmed_after(&self) -> Option<f64> {
        let took = self.confirmed_at? - self.placed_at;
        took.num_microseconds().map(Decimal::from).and_then(|micros| {
            use rust_decimal::prelude::ToPrimitive;
            (micros / Decimal::from(1_000)).to_f64()
        })
    }
}
