//! Large imports that end otherwise than well, and leave nothing behind.

use anyhow::{Context as _, ensure};
use serde_json::json;
use waybill_tests::{Plan, System, until};

use crate::{
    import_parts::{CLEANED, ROWS, Watch, files, over},
    imports::{begin, count, walk},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_discarded_half_way_takes_its_parts_with_it() -> anyhow::Result<()> {
    let (products, _) = files()?;
    let system = System::start(Plan::default().workers(2)).await?;
    let path = begin(&system, "products", products).await?;
    let third = i64::try_from(ROWS)? / 3;
    let import = Watch::new(&system, &path).until(|import| count(import, "rows_done") > third).await?;
    ensure!(import["status"] == "running", "{import}");
    let job = import["job_id"].as_str().context("no job")?;
    until("the import's job to wait", async || {
        let (status, answer) =
            system.admin.post(&format!("/v1/admin/jobs/{job}/discard"), &json!({})).await?;
        Ok(if status.is_success() { Ok(()) } else { Err(answer.to_string()) })
    })
    .await?;
    let import = system.admin.read(&path).await?;
    ensure!(over(&import) && import["status"] == "failed", "{import}");
    ensure!(import["error"].as_str().is_some_and(|error| error.contains("discarded")), "{import}");

    system.until_count("the files to be cleaned up", CLEANED, 1).await?;
    let live = "select count(*) as n from jobs where kind like 'import.%'";
    system.until_count("its jobs to end", live, 0).await?;
    let import = system.admin.read(&path).await?;
    ensure!(import["status"] == "failed" && count(&import, "rows_done") < i64::try_from(ROWS)?, "{import}");
    let variants = system.count("select count(*) as n from variants").await?;
    ensure!(count(&import, "rows_created") == variants, "{variants} variants: {import}");
    ensure!(walk(&system.folder().join("files"))? == 1, "files of parts are left");
    ensure!(system.count("select count(*) as n from flows where state = 'cancelled'").await? == 1);
    system.at_rest().await?;
    Ok(())
}
