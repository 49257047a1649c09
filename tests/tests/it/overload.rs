//! More work than gets done: who is refused at the door, who is not, and that it ends.

use anyhow::{Context as _, ensure};
use diesel_async::SimpleAsyncConnection as _;
use reqwest::StatusCode;
use waybill_tests::{
    Plan, System,
    client::{self, Reply},
    shop::checkout,
    until,
};

/// Waits until the upload of a file is answered with this status.
async fn until_uploads_are(system: &System, status: StatusCode) -> anyhow::Result<Reply> {
    until(&format!("an upload to be answered {status}"), async || {
        let file = b"sku,on_hand\nMUG-1,50\n".to_vec();
        let reply = client::reply(crate::imports::upload(system, "stock", file)).await?;
        Ok(if reply.status == status { Ok(reply) } else { Err(format!("{reply:?}")) })
    })
    .await
    .with_context(|| system.logs())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_checkouts_wait_files_are_refused_and_orders_are_taken() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(0)).await?;
    system.sell("MUG-1", "7.65", 10).await?;
    let (buyer, _) = system.anybody.register("ada@example.com").await?;
    let order = checkout(&[("MUG-1", 1)], "tok_visa");
    until_uploads_are(&system, StatusCode::ACCEPTED).await?;
    let before = system.place(&buyer, &order).await?;

    // Beyond the 5 s of uploads, and minutes below the limit of orders.
    let late = "update jobs set run_at = now() - interval '20 seconds' where queue = 'checkout'";
    system.connection().await?.batch_execute(late).await?;
    let refused = until_uploads_are(&system, StatusCode::TOO_MANY_REQUESTS).await?;
    let after: u64 = refused.header("retry-after").parse().with_context(|| format!("{refused:?}"))?;
    ensure!(after >= 1, "{refused:?}");
    ensure!(refused.body["code"] == "overloaded" && refused.body["queue"] == "checkout", "{refused:?}");
    let meanwhile = system.place(&buyer, &order).await?;

    system.add_worker(&[]).await?;
    until_uploads_are(&system, StatusCode::ACCEPTED).await?;
    system.confirmed(&[before, meanwhile]).await?;
    system.at_rest().await?;
    Ok(())
}
