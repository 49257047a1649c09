//! All shoppers at once, and a worker that dies among them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::StreamExt;
use indicatif::ProgressBar;
use tokio::sync::Notify;

use super::customers::Customer;
use super::plan::Purchase;
use super::shopper::{Purchased, Shopper};
use crate::system::System;

/// Every purchase, and how it went on the whole.
#[derive(Debug, Default)]
pub struct Shopping {
    pub purchased: Vec<Purchased>,
    pub failures: Vec<String>,
    pub took: Duration,
    /// What happened to the workers, for people.
    pub chaos: String,
}

pub async fn all(
    system: &mut System,
    shopper: &Shopper<'_>,
    purchases: &[Purchase],
    customers: &HashMap<String, Customer>,
    shoppers: usize,
    bar: &ProgressBar,
) -> Result<Shopping> {
    bar.set_length(purchases.len() as u64);
    // With as many orders under way as there are shoppers, whatever the killed worker holds is work begun.
    let midway = (purchases.len() * 2 / 5).max(1);
    let at_midway = Notify::new();
    let start = Instant::now();
    let shop = async {
        let mut shopping = Shopping::default();
        let mut results = futures::stream::iter(purchases)
            .map(|purchase| {
                let customer = purchase.invoice.customer.as_ref().and_then(|number| customers.get(number));
                shopper.buy(purchase, customer)
            })
            .buffer_unordered(shoppers);
        while let Some(result) = results.next().await {
            match result {
                Ok(purchased) => shopping.purchased.push(purchased),
                Err(error) => shopping.failures.push(format!("{error:#}")),
            }
            bar.inc(1);
            if shopping.purchased.len() + shopping.failures.len() == midway {
                at_midway.notify_one();
            }
        }
        shopping.took = start.elapsed();
        shopping
    };
    let chaos = async {
        at_midway.notified().await;
        let killed = system.kill_worker().await?;
        let added = system.add_worker().await?;
        anyhow::Ok(format!("{killed} killed with SIGKILL after {midway} orders, {added} started"))
    };
    let (mut shopping, chaos) = tokio::join!(shop, chaos);
    shopping.chaos = chaos?;
    Ok(shopping)
}
