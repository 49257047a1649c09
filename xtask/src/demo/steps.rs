//! The demonstration, step by step.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use super::admin::Admin;
use super::checks::{self, Check, Evidence};
use super::faults::{Books, Gateway};
use super::listener::Listener;
use super::plan::{self, Purchase};
use super::shopper::Shopper;
use super::shopping::{self, Shopping};
use super::{catalogue, customers, mails, report};
use crate::client::Client;
use crate::retail::Dataset;
use crate::system::System;
use crate::workspace::Workspace;

pub enum Outcome {
    /// Whether every check held.
    Held(bool),
    Interrupted,
}

/// After the last order is settled, mails and webhooks are still under way; a webhook that failed once
/// is tried again after five seconds.
const SETTLE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(250);

pub async fn run(
    workspace: &Workspace,
    system: &mut System,
    data: &Dataset,
    shoppers: usize,
) -> Result<Outcome> {
    let visitor = Client::new(&system.api_url)?;
    let gateway = Gateway::new(&system.gateway_url)?;
    let listener = Listener::start().await?;
    let admin = Admin::sign_in(&visitor, &listener).await?;
    println!("admin     signed in, an API key for the shop, webhooks to {}", listener.url());

    for feed in [catalogue::products(data)?, catalogue::stock(data)?] {
        let bar = bar("importing", feed.kind);
        let import = feed.import(&admin.user, &bar).await?;
        bar.finish_and_clear();
        println!(
            "{:<9} {} rows: {} new, {} changed, {} unchanged, {} refused with a reason",
            feed.kind,
            import.rows_done,
            import.rows_created,
            import.rows_updated,
            import.rows_unchanged,
            import.rows_failed
        );
    }

    let bar = bar("registering", "customers");
    let (customers, new) = customers::register(&visitor, data, &bar).await?;
    bar.finish_and_clear();
    println!("customers {} who buy: {new} registered, {} signed in", customers.len(), customers.len() - new);

    let purchases = plan::purchases(&data.invoices);
    gateway.script(purchases.len()).await.context("scripting the gateway")?;
    let before = Before { books: gateway.books().await?, faults: gateway.struck().await? };
    let run = Uuid::now_v7().to_string();
    let shopper = Shopper { visitor: &visitor, shop: &admin.shop, run: &run };
    let bar = self::bar("buying", "orders");
    let shopping = shopping::all(system, &shopper, &purchases, &customers, shoppers, &bar).await?;
    bar.finish_and_clear();
    let struck = gateway.struck().await?;
    gateway.clear().await?;
    println!("chaos     {}", shopping.chaos);
    println!("gateway   {}", faults(&before, &struck, &purchases));
    for failure in shopping.failures.iter().take(5) {
        println!("failed    {failure}");
    }

    let mut checks =
        settle(system, &admin, &gateway, &listener, data, &purchases, &shopping, &before).await?;
    checks.push(checks::trails(&admin.shop, &shopping).await?);
    let ended = system.ended();
    checks.push(Check::equal("processes that ended by themselves", 0, ended.len()));
    report::checks(&checks);
    report::speed(&shopping, shoppers);
    let inbox = listener.inbox();
    println!("webhooks: {} delivered, {} of them again under the same id", inbox.deliveries, inbox.repeated);
    if let Some(purchased) = shopping.purchased.iter().find(|purchased| purchased.order.is_confirmed()) {
        println!("a trail:  {}/v1/admin/orders/{}/trail", system.api_url, purchased.order.id);
    }
    admin.end_webhooks().await?;
    let failed = checks.iter().filter(|check| !check.held).count();
    println!(
        "{} checks held, {failed} did not; logs in {}",
        checks.len() - failed,
        workspace.shown(&system.logs)
    );
    Ok(Outcome::Held(failed == 0))
}

/// What had happened before the first order.
struct Before {
    books: Books,
    faults: std::collections::BTreeMap<String, u64>,
}

/// Looks until everything holds, or for as long as it may take.
#[allow(clippy::too_many_arguments)]
async fn settle(
    system: &System,
    admin: &Admin,
    gateway: &Gateway,
    listener: &Listener,
    data: &Dataset,
    purchases: &[Purchase],
    shopping: &Shopping,
    before: &Before,
) -> Result<Vec<Check>> {
    let waiting = ProgressBar::new_spinner().with_message("waiting for mails, webhooks and the last jobs");
    waiting.enable_steady_tick(Duration::from_millis(100));
    let end = Instant::now() + SETTLE;
    loop {
        let evidence = Evidence {
            data,
            purchases,
            shopping,
            books_before: &before.books,
            books: gateway.books().await?,
            inbox: listener.inbox(),
            subjects: mails::subjects(&system.mail_folder())?,
            stock: Evidence::stock(&admin.shop).await?,
            system: admin.shop.get("/v1/admin/system/checks").await?,
        };
        let checks = evidence.checks()?;
        if checks.iter().all(|check| check.held) || Instant::now() >= end {
            waiting.finish_and_clear();
            return Ok(checks);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn faults(
    before: &Before,
    after: &std::collections::BTreeMap<String, u64>,
    purchases: &[Purchase],
) -> String {
    let count = |card: &str| purchases.iter().filter(|purchase| purchase.card == card).count();
    let declined = purchases.iter().filter(|purchase| purchase.declined).count();
    let mut told = vec![
        format!("{declined} cards declined"),
        format!("{} cards lose an answer", count("tok_lost_answer_once")),
    ];
    for (name, times) in after {
        let times = times - before.faults.get(name).unwrap_or(&0);
        if times > 0 {
            told.push(format!("{times} x {}", name.replace('_', " ")));
        }
    }
    told.join(", ")
}

fn bar(doing: &'static str, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>11} {msg} {wide_bar} {pos}/{len} {per_sec} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_prefix(doing).with_message(what)
}
