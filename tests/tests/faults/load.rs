//! Buyers who do not give up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use waybill_tests::{
    Client, System,
    client::{Reply, reply},
    shop::checkout,
};

/// What everybody buys.
pub const SKU: &str = "MUG-1";
/// Pieces of it when a test begins.
pub const STOCK: i64 = 1_000_000;
/// How long a buyer tries to place an order, and how long anything may take to come right again.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Buyers that order all the time, in tasks of their own.
pub struct Load {
    enough: Arc<AtomicBool>,
    confirmed: Arc<AtomicUsize>,
    buyers: Vec<JoinHandle<anyhow::Result<Vec<String>>>>,
}

impl Load {
    /// Puts the SKU on sale and lets so many buyers in.
    pub async fn start(system: &System, buyers: usize) -> anyhow::Result<Self> {
        system.sell(SKU, "7.65", STOCK).await?;
        Ok(Self::resume(system, "load", buyers))
    }

    /// Lets buyers in whose orders begin with `name`.
    pub fn resume(system: &System, name: &str, buyers: usize) -> Self {
        let (enough, confirmed) = (Arc::default(), Arc::default());
        let buyers = (0..buyers)
            .map(|buyer| {
                let (caller, admin) = (system.anybody.clone(), system.admin.clone());
                let (enough, confirmed) = (Arc::clone(&enough), Arc::clone(&confirmed));
                let name = format!("{name}-{buyer}");
                tokio::spawn(async move { buy(&caller, &admin, &name, &enough, &confirmed).await })
            })
            .collect();
        Self { enough, confirmed, buyers }
    }

    /// Waits until buyers have seen so many more orders confirmed.
    pub async fn confirmed(&mut self, more: usize) -> anyhow::Result<()> {
        let target = self.confirmed.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + PATIENCE;
        while self.confirmed.load(Ordering::Relaxed) < target {
            for buyer in &mut self.buyers {
                if buyer.is_finished() {
                    buyer.await??;
                    bail!("a buyer went home");
                }
            }
            ensure!(Instant::now() < deadline, "{more} orders are not confirmed in {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Lets the buyers finish what they have begun; the ids of all their orders.
    pub async fn finish(self) -> anyhow::Result<Vec<String>> {
        self.enough.store(true, Ordering::Relaxed);
        let mut orders = Vec::new();
        for buyer in self.buyers {
            orders.extend(buyer.await??);
        }
        Ok(orders)
    }
}

/// Orders until there is enough, each when the one before is confirmed.
async fn buy(
    caller: &Client,
    admin: &Client,
    name: &str,
    enough: &AtomicBool,
    confirmed: &AtomicUsize,
) -> anyhow::Result<Vec<String>> {
    let mut orders = Vec::new();
    while !enough.load(Ordering::Relaxed) {
        let order = place(caller, &format!("{name}-{}", orders.len())).await?;
        let id = order["id"].as_str().context("no id")?.to_owned();
        wait_for(admin, &id).await?;
        confirmed.fetch_add(1, Ordering::Relaxed);
        orders.push(id);
    }
    Ok(orders)
}

/// Sends an order under its key until it is accepted, whatever becomes of the answers.
pub async fn place(caller: &Client, key: &str) -> anyhow::Result<Value> {
    let mut body = checkout(&[(SKU, 1)], "tok_visa");
    body["email"] = json!(format!("{key}@example.com"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let request = caller.request(Method::POST, "/v1/checkout").json(&body);
        let answer = reply(request.header("idempotency-key", key)).await;
        match answer {
            Ok(Reply { status: StatusCode::ACCEPTED, body, .. }) => return Ok(body),
            Ok(Reply { status, body, .. }) => {
                // 409: the key is held by a request that hangs. Every refusal is one that a client can understand.
                let passing = status.is_server_error()
                    || status == StatusCode::CONFLICT
                    || status == StatusCode::TOO_MANY_REQUESTS;
                ensure!(passing && body["code"].is_string(), "{key}: {status} {body}");
                ensure!(Instant::now() < deadline, "{key}: {status} {body}");
            }
            Err(error) => ensure!(Instant::now() < deadline, "{key}: {error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until an order is confirmed, over outages of the API itself.
pub async fn wait_for(admin: &Client, id: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let last = match admin.get(&format!("/v1/admin/orders/{id}")).await {
            Ok((_, order)) if order["status"] == "confirmed" => return Ok(()),
            Ok((StatusCode::OK, order)) => {
                ensure!(order["status"] == "pending", "{order}");
                order.to_string()
            }
            Ok((status, body)) => format!("{status} {body}"),
            Err(error) => format!("{error:#}"),
        };
        ensure!(Instant::now() < deadline, "order {id} is not confirmed: {last}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
