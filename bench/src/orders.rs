//! `orders`: confirmed orders per second, and how long buyers wait.

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use rand::Rng as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{api::Caller, percentiles, processes};

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shoppers at a time, one round each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    shoppers: Vec<usize>,
    /// Seconds a round.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Products to choose from.
    #[arg(long, default_value_t = 200)]
    products: usize,
    /// Lines an order.
    #[arg(long, default_value_t = 2)]
    lines: usize,
    /// Accepted for symmetry with other tools: the output is always one JSON line.
    #[arg(long)]
    json: bool,
}

struct Shop {
    skus: Vec<String>,
}

/// Prepares a shop, runs every round, checks the books, prints the figures.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let base = env::var("WAYBILL_BENCH_API_URL").context("run it through `cargo xtask bench orders`")?;
    let pids = processes::parse(&env::var("WAYBILL_BENCH_PIDS").unwrap_or_default())?;
    let postmaster = postmaster().await;
    let admin = Caller::sign_in(
        &base,
        &env::var("WAYBILL_BENCH_ADMIN_EMAIL")?,
        &env::var("WAYBILL_BENCH_ADMIN_PASSWORD")?,
    )
    .await?;
    let shop = Arc::new(stock_up(&admin, args.products).await?);
    let most = args.shoppers.iter().copied().max().unwrap_or(1);
    let mut shoppers = Vec::with_capacity(most);
    for number in 0..most {
        shoppers.push(Caller::register(&base, &format!("shopper-{number}@bench.example")).await?);
    }
    // A round that does not count: plans, caches and connections are made.
    round(&shop, &shoppers[..most.min(8)], Duration::from_secs(3), args.lines).await?;

    let mut rounds = Vec::new();
    for count in &args.shoppers {
        let before = processes::cpu(&pids, postmaster);
        let mut figures =
            round(&shop, &shoppers[..*count], Duration::from_secs(args.seconds), args.lines).await?;
        let after = processes::cpu(&pids, postmaster);
        let orders = figures["orders"].as_f64().unwrap_or(0.0).max(1.0);
        let per_order: serde_json::Map<String, Value> = after
            .iter()
            .map(|(name, seconds)| {
                let used = seconds - before.get(name).copied().unwrap_or(0.0);
                (name.clone(), json!((used / orders * 1e6).round() / 1e6))
            })
            .collect();
        figures["cpu_seconds_per_order"] = Value::Object(per_order);
        rounds.push(figures);
    }
    let drained = drain(&admin).await?;
    println!(
        "{}",
        json!({
            "benchmark": "orders",
            "lines_per_order": args.lines,
            "products": args.products,
            "rounds": rounds,
            "drain_seconds": drained.as_secs_f64(),
            "peak_rss_mb": processes::peak_rss(&pids),
        })
    );
    Ok(())
}

async fn stock_up(admin: &Caller, products: usize) -> anyhow::Result<Shop> {
    let mut skus = Vec::with_capacity(products);
    for number in 0..products {
        let sku = format!("BENCH-{number:05}");
        let product = json!({
            "name": format!("Bench product {number}"),
            "status": "active",
            "variants": [{ "sku": sku, "price": { "amount": "4.95", "currency": "GBP" } }],
        });
        admin.send(Method::POST, "/v1/admin/products", Some(&product)).await?;
        let stock = json!({ "sku": sku, "on_hand": 100_000_000, "reason": "benchmark" });
        admin.send(Method::POST, "/v1/admin/stock/adjustments", Some(&stock)).await?;
        skus.push(sku);
    }
    Ok(Shop { skus })
}

async fn round(
    shop: &Arc<Shop>,
    shoppers: &[Caller],
    length: Duration,
    lines: usize,
) -> anyhow::Result<Value> {
    let started = Instant::now();
    let deadline = started + length;
    let runs = shoppers.iter().map(|shopper| {
        let (shopper, shop) = (shopper.clone(), Arc::clone(shop));
        tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < deadline {
                times.push(order(&shopper, &shop, lines).await?);
            }
            anyhow::Ok(times)
        })
    });
    let mut accepted = Vec::new();
    let mut confirmed = Vec::new();
    for run in try_join_all(runs).await? {
        for (acceptance, confirmation) in run? {
            accepted.push(acceptance);
            confirmed.push(confirmation);
        }
    }
    let took = started.elapsed().as_secs_f64();
    let orders = confirmed.len();
    #[allow(clippy::cast_precision_loss)]
    let rate = (orders as f64 / took * 10.0).round() / 10.0;
    Ok(json!({
        "shoppers": shoppers.len(),
        "orders": orders,
        "orders_per_second": rate,
        "acceptance_ms": percentiles::of(&mut accepted),
        "acceptance_to_confirmed_ms": percentiles::of(&mut confirmed),
    }))
}

/// Places one order; the times until it was accepted, and from then until it was seen to be confirmed.
async fn order(shopper: &Caller, shop: &Shop, lines: usize) -> anyhow::Result<(Duration, Duration)> {
    let lines: Vec<Value> = {
        let mut rng = rand::rng();
        (0..lines)
            .map(|_| {
                let sku = &shop.skus[rng.random_range(0..shop.skus.len())];
                json!({ "sku": sku, "quantity": rng.random_range(1..=3) })
            })
            .collect()
    };
    let body = json!({
        "lines": lines,
        "shipping_address": { "name": "Bench Shopper", "line1": "1 Test Street", "city": "London",
                              "postal_code": "N1 1AA", "country": "GB" },
        "payment": { "token": "tok_visa" },
    });
    let start = Instant::now();
    let placed = shopper.send(Method::POST, "/v1/checkout", Some(&body)).await?;
    let acceptance = start.elapsed();
    let id = placed["id"].as_str().context("no order id")?;
    let status = shopper.settled(id, placed["version"].as_i64().unwrap_or(1)).await?;
    ensure!(status == "confirmed", "order {id} is {status}");
    Ok((acceptance, start.elapsed().saturating_sub(acceptance)))
}

/// Waits until mails, webhooks and events are through and every invariant holds.
async fn drain(admin: &Caller) -> anyhow::Result<Duration> {
    let started = Instant::now();
    loop {
        let checks = admin.send(Method::GET, "/v1/admin/system/checks", None).await?;
        let rests = |check: &Value| check["ok"] == true;
        if checks["checks"].as_array().is_some_and(|all| all.iter().all(rests)) {
            return Ok(started.elapsed());
        }
        ensure!(started.elapsed() < Duration::from_secs(300), "the system does not come to rest: {checks}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn postmaster() -> Option<u32> {
    let url = env::var("WAYBILL_BENCH_DATABASE_URL").ok()?;
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.ok()?;
    let running = tokio::spawn(connection);
    let backend: i32 = client.query_one("select pg_backend_pid()", &[]).await.ok()?.get(0);
    let parent = processes::parent_of(u32::try_from(backend).ok()?);
    running.abort();
    parent
}
