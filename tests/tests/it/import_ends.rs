//! Large imports that end otherwise than well, and leave nothing behind.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

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

/// Files that the store has begun and not finished.
fn unfinished(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => unfinished(&entry.path()),
            _ => usize::from(entry.file_name().to_string_lossy().contains('#')),
        })
        .sum()
}

/// Waits until there is one, as busily as it takes to meet one of some milliseconds.
async fn meet_unfinished(folder: PathBuf) -> anyhow::Result<bool> {
    let look = move || {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if unfinished(&folder) > 0 {
                return true;
            }
        }
        false
    };
    Ok(tokio::task::spawn_blocking(look).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_while_it_writes_a_part_leaves_no_file_behind() -> anyhow::Result<()> {
    // Many bytes in few rows: what takes time is the writing.
    let mut stock = String::from("sku,on_hand\n");
    for row in 0..16_000 {
        writeln!(stock, "SKU-{row},{:>1000}", row % 13)?;
    }
    let mut system = System::start(Plan::default().workers(1)).await?;
    let files = system.folder().join("files");
    let path = begin(&system, "stock", stock).await?;
    until("a file to be left unfinished", async || {
        if unfinished(&files) > 0 {
            return Ok(Ok(()));
        }
        if system.workers.is_empty() {
            system.add_worker(&[]).await?;
        }
        if meet_unfinished(files.clone()).await? {
            system.workers.remove(0).kill().await?;
        }
        let left = unfinished(&files);
        Ok(if left > 0 { Ok(()) } else { Err("each was finished in time".to_owned()) })
    })
    .await?;
    system.add_worker(&[]).await?;
    let job = system.admin.read(&path).await?["job_id"].as_str().context("no job")?.to_owned();
    let (status, answer) = system.admin.post(&format!("/v1/jobs/{job}/cancel"), &json!({})).await?;
    ensure!(status.is_success(), "{status} {answer}");
    system.until_count("the files to be cleaned up", CLEANED, 1).await?;
    let live = "select count(*) as n from jobs where kind like 'import.%'";
    system.until_count("its jobs to end", live, 0).await?;
    ensure!(walk(&files)? == 1, "files of parts are left");
    Ok(())
}
