//! Things to sell, and buying them.

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{Client, System, until};

/// An address that every order may have.
pub fn address() -> Value {
    json!({ "name": "Ada Lovelace", "line1": "12 St James's Square", "city": "London",
            "postal_code": "SW1Y 4JH", "country": "GB" })
}

/// A checkout of explicit lines.
pub fn checkout(lines: &[(&str, i64)], token: &str) -> Value {
    let lines: Vec<Value> =
        lines.iter().map(|(sku, quantity)| json!({ "sku": sku, "quantity": quantity })).collect();
    json!({ "lines": lines, "shipping_address": address(), "payment": { "token": token } })
}

impl System {
    /// Puts a product on sale with so many pieces of it.
    pub async fn sell(&self, sku: &str, price: &str, on_hand: i64) -> anyhow::Result<()> {
        let product = json!({
            "name": format!("Product {sku}"), "status": "active",
            "variants": [{ "sku": sku, "price": { "amount": price, "currency": "GBP" } }],
        });
        let (status, body) = self.admin.post("/v1/admin/products", &product).await?;
        ensure!(status == StatusCode::CREATED, "product: {status} {body}");
        let stock = json!({ "sku": sku, "on_hand": on_hand, "reason": "opening stock" });
        let (status, body) = self.admin.post("/v1/admin/stock/adjustments", &stock).await?;
        ensure!(status == StatusCode::CREATED, "stock: {status} {body}");
        Ok(())
    }

    /// Places an order; it must be accepted.
    pub async fn place(&self, buyer: &Client, body: &Value) -> anyhow::Result<Value> {
        let (status, order) = buyer.post("/v1/checkout", body).await?;
        ensure!(status == StatusCode::ACCEPTED, "checkout: {status} {order}");
        Ok(order)
    }

    /// Places so many orders of one `MUG-1` at once, each of a buyer of its own.
    pub async fn place_many(&self, orders: usize) -> anyhow::Result<Vec<Value>> {
        let buyer = async |number: usize| {
            let mut body = checkout(&[("MUG-1", 1)], "tok_visa");
            body["email"] = json!(format!("buyer-{number}@example.com"));
            self.place(&self.anybody, &body).await
        };
        try_join_all((0..orders).map(buyer)).await
    }

    /// Waits until orders are no longer pending; each must be confirmed.
    pub async fn confirmed(&self, orders: &[Value]) -> anyhow::Result<()> {
        for order in orders {
            let order = self.settled(order).await?;
            ensure!(order["status"] == "confirmed", "{order}\n{}", self.logs());
        }
        Ok(())
    }

    /// Waits until an order is no longer pending.
    pub async fn settled(&self, order: &Value) -> anyhow::Result<Value> {
        let id = order["id"].as_str().context("no id")?;
        let path = format!("/v1/admin/orders/{id}");
        until("the order to settle", async || {
            let order = self.admin.read(&path).await?;
            Ok(if order["status"] == "pending" { Err(order.to_string()) } else { Ok(order) })
        })
        .await
        .with_context(|| self.logs())
    }

    /// Stock of a SKU: on hand and reserved.
    pub async fn stock(&self, sku: &str) -> anyhow::Result<(i64, i64)> {
        let stock = self.admin.read(&format!("/v1/admin/stock?sku={sku}")).await?;
        let level = &stock["data"][0];
        Ok((level["on_hand"].as_i64().context("no level")?, level["reserved"].as_i64().context("no level")?))
    }
}
