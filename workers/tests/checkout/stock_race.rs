//! Many buyers, few units.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use uuid::Uuid;

use crate::fake_gateway::On;
use crate::world::{Variant, World};

/// Runs jobs until none is left, as many at a time as `workers`.
async fn run_all(world: &Arc<World>, jobs: Vec<Uuid>, workers: usize) {
    let jobs = Arc::new(jobs);
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..workers)
        .map(|_| {
            let (world, jobs, next) = (Arc::clone(world), Arc::clone(&jobs), Arc::clone(&next));
            tokio::spawn(async move {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    world.run_to_end(*job, 100_000).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_buyers_of_fifty_units() {
    let world = Arc::new(World::new().await);
    let cup = world.variant("CUP", "2.50", 50).await;
    let mut jobs = Vec::new();
    for n in 0..200 {
        // Some cards are declined: their units must go to others.
        let token = if n % 10 == 3 { "tok_declined" } else { "tok_visa" };
        jobs.push(world.order_with(token, &[(&cup, 1)]).await.1);
    }
    run_all(&world, jobs, 8).await;

    let count = |what: &str| format!("select count(*) as number from orders where {what}");
    assert_eq!(world.number(&count("status = 'confirmed'")).await, 50);
    let refused = world.number(&count("reason_code = 'out_of_stock'")).await;
    let declined = world.number(&count("reason_code = 'payment_declined'")).await;
    assert_eq!(refused + declined, 150);
    assert_eq!(world.level(&cup).await, (0, 0));
    assert_eq!(world.gateway.all_holds().len(), 50, "nobody who was refused was charged");
    let early =
        "select count(*) as number from orders o where reason_code = 'out_of_stock' and cancelled_at < (
        select max(confirmed_at) from orders where status = 'confirmed') - interval '1 hour'";
    assert_eq!(world.number(early).await, 0);
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_refused_while_units_are_left() {
    let world = Arc::new(World::new().await);
    let cup = world.variant("CUP", "2.50", 5).await;
    // Every unit is first promised to a card that will be declined.
    let mut jobs = Vec::new();
    for n in 0..40 {
        let token = if n < 20 { "tok_declined" } else { "tok_visa" };
        jobs.push(world.order_with(token, &[(&cup, 1)]).await.1);
    }
    run_all(&world, jobs, 6).await;
    assert_eq!(world.number("select count(*) as number from orders where status = 'confirmed'").await, 5);
    let refused_before_sold_out = "select count(*) as number from orders where reason_code = 'out_of_stock'
        and cancelled_at < (select max(created_at) from stock_ledger where kind = 'sale')";
    assert_eq!(world.number(refused_before_sold_out).await, 0);
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn orders_of_many_lines_in_any_order_do_not_wait_for_each_other() {
    let world = Arc::new(World::new().await);
    let mut variants: Vec<Variant> = Vec::new();
    for n in 0..6 {
        variants.push(world.variant(&format!("V{n}"), "1.10", 25).await);
    }
    let mut jobs = Vec::new();
    for n in 0..60_usize {
        let token = if n % 7 == 0 { "tok_declined" } else { "tok_visa" };
        let mut lines: Vec<(&Variant, i64)> = (0..4)
            .map(|line| (&variants[(n * 5 + line * (1 + n % 5)) % 6], if line % 2 == 0 { 1 } else { 2 }))
            .collect();
        if n % 2 == 0 {
            lines.reverse();
        }
        jobs.push(world.order_with(token, &lines).await.1);
    }
    run_all(&world, jobs, 8).await;
    let deadlocks = world
        .number("select deadlocks as number from pg_stat_database where datname = current_database()")
        .await;
    assert_eq!(deadlocks, 0);
    assert!(world.gateway.calls(On::Capture) > 0);
    world.assert_settled().await;
}
