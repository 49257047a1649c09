//! The payment gateway's troubles, scripted, and its own books.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use reqwest::Method;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Caller, Client};
use crate::system;

/// The sandbox gateway, which has a door for scripts.
pub struct Gateway {
    client: Client,
}

/// The sums of the gateway's ledger.
#[derive(Debug, Clone, Deserialize)]
pub struct Books {
    captured: BTreeMap<String, String>,
    refunded: BTreeMap<String, String>,
    pub declines: u64,
    pub double_captures: u64,
}

impl Books {
    /// GBP taken and not given back.
    pub fn kept(&self) -> Result<Decimal> {
        Ok(amount(&self.captured)? - amount(&self.refunded)?)
    }
}

fn amount(sums: &BTreeMap<String, String>) -> Result<Decimal> {
    sums.get("GBP").map_or(Ok(Decimal::ZERO), |sum| sum.parse().context("a sum of the gateway"))
}

impl Gateway {
    pub fn new(url: &str) -> Result<Self> {
        let client = Client::new(url)?.as_caller(Caller::User(system::gateway_key().to_owned()));
        Ok(Self { client })
    }

    pub async fn books(&self) -> Result<Books> {
        self.client.get("/v1/ledger/summary").await
    }

    /// Beside what the shoppers' cards do: captures whose answers get lost, errors, webhooks that come
    /// twice or in the wrong order. Declines are made by cards, so that it is known whose they are.
    pub async fn script(&self, orders: usize) -> Result<()> {
        self.clear().await?;
        let some = (orders / 25).max(2);
        for fault in [
            json!({ "fault": "lost_answer", "operation": "capture", "times": some, "probability": 0.1 }),
            json!({ "fault": "error_500", "operation": "authorize", "times": some, "probability": 0.1 }),
            json!({ "fault": "duplicate_webhook", "times": some, "probability": 0.2 }),
            json!({ "fault": "out_of_order_webhook", "times": some, "probability": 0.2, "delay_ms": 500 }),
        ] {
            let _: Value = self.client.post("/control/faults", &fault).await?;
        }
        Ok(())
    }

    /// How often each fault struck since the gateway started.
    pub async fn struck(&self) -> Result<BTreeMap<String, u64>> {
        #[derive(Deserialize)]
        struct Faults {
            applied: BTreeMap<String, u64>,
        }
        let faults: Faults = self.client.get("/control/faults").await?;
        Ok(faults.applied)
    }

    pub async fn clear(&self) -> Result<()> {
        self.client.send(self.client.request(Method::DELETE, "/control/faults")).await.map(drop)
    }
}
