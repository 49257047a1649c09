//! One shopper: places one invoice as an order and follows it to its end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use reqwest::header::IF_NONE_MATCH;
use reqwest::{Method, StatusCode};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::countries;
use super::customers::{Customer, email};
use super::order::Order;
use super::plan::{Follow, Purchase, Route};
use crate::client::Client;

/// From acceptance to the end, a killed worker and a gateway that does not answer included.
const PATIENCE: Duration = Duration::from_mins(2);

const RECONNECT: Duration = Duration::from_millis(200);

/// What became of it.
#[derive(Debug, Clone)]
pub struct Purchased {
    pub order: Order,
    pub declined: bool,
    /// What the invoice says, GBP.
    pub invoiced: Decimal,
    /// Milliseconds until the checkout was accepted.
    pub accepted_after: f64,
}

pub struct Shopper<'a> {
    /// Nobody in particular.
    pub visitor: &'a Client,
    /// The shop's own key, which may set agreed prices.
    pub shop: &'a Client,
    /// Makes the idempotency keys of this run its own.
    pub run: &'a str,
}

impl Shopper<'_> {
    pub async fn buy(&self, purchase: &Purchase, customer: Option<&Customer>) -> Result<Purchased> {
        let bought = self.place_and_follow(purchase, customer);
        bought.await.with_context(|| format!("invoice {}", purchase.invoice.number))
    }

    async fn place_and_follow(&self, purchase: &Purchase, customer: Option<&Customer>) -> Result<Purchased> {
        let mut shop = self.shop.clone();
        let mut body = body(purchase, customer);
        match purchase.route {
            Route::Lines => body["lines"] = lines(purchase),
            Route::Cart => {
                let cart = self.fill_cart(purchase).await?;
                shop = shop.with_header("X-Cart-Token", &cart.token);
                body["cart_id"] = cart.id.into();
                body["agreed_prices"] = agreed_prices(purchase);
            }
        }
        let start = Instant::now();
        let accepted = self.check_out(&shop, purchase, &body).await?;
        let accepted_after = start.elapsed().as_secs_f64() * 1_000.0;
        let reader = match (customer, &accepted.guest_token) {
            (Some(customer), _) => customer.client.clone(),
            (None, Some(token)) => self.visitor.with_header("X-Order-Token", token),
            (None, None) => bail!("a guest's order came without a token"),
        };
        let followed = async {
            match purchase.follow {
                Follow::Stream => stream(&reader, &accepted).await,
                Follow::Poll => poll(&reader, &accepted).await,
            }
        };
        let order = tokio::time::timeout(PATIENCE, followed)
            .await
            .with_context(|| format!("order {} was still pending", accepted.number()))??;
        Ok(Purchased {
            order,
            declined: purchase.declined,
            invoiced: purchase.invoice.total(),
            accepted_after,
        })
    }

    /// Once, or twice at the same moment: then both answers must tell of one order.
    async fn check_out(&self, shop: &Client, purchase: &Purchase, body: &Value) -> Result<Order> {
        let key = format!("{}-{}", self.run, purchase.invoice.number);
        let once = || async {
            loop {
                let request = shop.request(Method::POST, "/v1/checkout").header("Idempotency-Key", &key);
                match shop.send(request.json(body)).await {
                    Ok(answer) => {
                        ensure!(answer.status == StatusCode::ACCEPTED, "answered {}", answer.status);
                        return answer.json::<Order>();
                    }
                    Err(error) if is_in_progress(&error) => tokio::task::yield_now().await,
                    Err(error) => return Err(error),
                }
            }
        };
        if !purchase.twice {
            return once().await;
        }
        let (first, second) = tokio::try_join!(once(), once())?;
        ensure!(
            first.id == second.id,
            "two orders, {} and {}, from one key",
            first.number(),
            second.number()
        );
        // A guest's token is told once, and either of the two may have been the first.
        Ok(if first.guest_token.is_some() { first } else { second })
    }

    async fn fill_cart(&self, purchase: &Purchase) -> Result<Cart> {
        let cart: Cart = self.visitor.post("/v1/carts", &json!({ "currency": "GBP" })).await?;
        let guest = self.visitor.with_header("X-Cart-Token", &cart.token);
        for line in &purchase.invoice.lines {
            let body = json!({ "sku": line.code, "quantity": line.quantity });
            let _: Value = guest.post(&format!("/v1/carts/{}/lines", cart.id), &body).await?;
        }
        Ok(cart)
    }
}

#[derive(Debug, Deserialize)]
struct Cart {
    id: String,
    token: String,
}

fn is_in_progress(error: &anyhow::Error) -> bool {
    crate::client::refusal(error).is_some_and(|refused| refused.code == "idempotency_in_progress")
}

fn body(purchase: &Purchase, customer: Option<&Customer>) -> Value {
    let invoice = &purchase.invoice;
    let who = invoice.customer.as_deref().unwrap_or("guest");
    let mut body = json!({
        "currency": "GBP",
        "reference": invoice.number,
        "expected_total": invoice.total().to_string(),
        "payment": { "token": purchase.card },
        "shipping_address": {
            "name": format!("Customer {who}"),
            "line1": "1 Warehouse Road",
            "city": invoice.country,
            "country": countries::code(&invoice.country),
        },
    });
    match customer {
        Some(customer) => body["customer_id"] = customer.id.to_string().into(),
        None => body["email"] = email(&format!("guest-{}", invoice.number)).into(),
    }
    body
}

fn lines(purchase: &Purchase) -> Value {
    let line = |line: &crate::retail::InvoiceLine| json!({ "sku": line.code, "quantity": line.quantity, "agreed_price": line.price.to_string() });
    purchase.invoice.lines.iter().map(line).collect()
}

fn agreed_prices(purchase: &Purchase) -> Value {
    let price =
        |line: &crate::retail::InvoiceLine| json!({ "sku": line.code, "unit_price": line.price.to_string() });
    purchase.invoice.lines.iter().map(price).collect()
}

/// Asks again whenever the order has changed; the server holds the question until then.
async fn poll(reader: &Client, accepted: &Order) -> Result<Order> {
    let path = format!("/v1/orders/{}?wait=20", accepted.id);
    let mut known: Option<String> = None;
    loop {
        let mut request = reader.request(Method::GET, &path);
        if let Some(etag) = &known {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let answer = reader.send(request).await?;
        if answer.status == StatusCode::NOT_MODIFIED {
            continue;
        }
        known = answer.etag();
        let order: Order = answer.json()?;
        if !order.is_pending() {
            return Ok(order);
        }
        ensure!(known.is_some(), "an order came without an ETag");
    }
}

/// Reads server-sent events until the order is settled.
async fn stream(reader: &Client, accepted: &Order) -> Result<Order> {
    let path = format!("/v1/orders/{}/events", accepted.id);
    loop {
        let response =
            reader.request(Method::GET, &path).timeout(PATIENCE).send().await?.error_for_status()?;
        let mut bytes = response.bytes_stream();
        let mut text = Vec::new();
        while let Some(chunk) = bytes.next().await {
            text.extend_from_slice(&chunk?);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let Some(data) = line.strip_prefix(b"data:") else { continue };
                let order: Order = serde_json::from_slice(data).context("an event of another shape")?;
                if !order.is_pending() {
                    return Ok(order);
                }
            }
        }
        // The stream may end early; a new one begins with the order as it is.
        tokio::time::sleep(RECONNECT).await;
    }
}
