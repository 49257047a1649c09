//! Large files, cut into parts that several workers run, and what becomes of them when workers die or somebody cancels.

use std::{fmt::Write as _, time::Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waybill_tests::{Plan, System, until};

use crate::imports::{begin, count, walk};

/// Files from this size on are cut; a system that never does.
const CUT_FROM: &str = "WAYBILL_WORKER__CUT_IMPORTS_FROM";
const NEVER: (&str, &str) = (CUT_FROM, "1099511627776");

pub const ROWS: usize = 24_000;

/// Products of three variants and their stock. Every tenth row is about a SKU that came before, some with other figures and some
/// in another product; every 97th cannot be used.
pub fn files() -> anyhow::Result<(String, String)> {
    let mut products = String::from("sku,name,price,product,category\n");
    let mut stock = String::from("sku,on_hand\n");
    for row in 0..ROWS {
        let sku = if row % 10 == 9 { row - row % 1_000 / 2 } else { row };
        let (product, room) = (sku / 3, sku / 3 % 7);
        let of = if row % 50 == 49 { format!("elsewhere-{product}") } else { format!("product-{product}") };
        let price = if row % 97 == 0 { "free".to_owned() } else { format!("{}.99", row % 89) };
        writeln!(products, "SKU-{sku},Product number {product},{price},{of},Home > Room {room}")?;
        let on_hand = if row % 101 == 0 { -1 } else { i64::try_from(row % 13)? };
        // Blanks do not count; bytes do, for the number of parts.
        writeln!(stock, "SKU-{sku},{on_hand:>36}")?;
        if row % 1_000 == 0 {
            products.push_str("SKU-1,too few columns\n\n");
        }
    }
    products.push_str("SKU-1,\"a quote left open,1,,\n");
    Ok((products, stock))
}

/// How far an import is, by itself and by its job; never less than before.
pub struct Watch<'s> {
    system: &'s System,
    path: &'s str,
    rows: i64,
    shown: i64,
    changes: usize,
}

impl<'s> Watch<'s> {
    pub fn new(system: &'s System, path: &'s str) -> Self {
        Self { system, path, rows: 0, shown: 0, changes: 0 }
    }

    /// Waits until `enough` says so, for as long as the import gets on.
    pub async fn until(&mut self, enough: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        loop {
            let before = self.rows;
            let import = until("the import to get on", async || {
                let import = self.system.admin.read(self.path).await?;
                let (rows, over) = (count(&import, "rows_done"), import["status"] != "running");
                let moved = enough(&import) || rows != before || (over && import["status"] != "queued");
                Ok(if moved { Ok(import) } else { Err(import.to_string()) })
            })
            .await
            .with_context(|| self.system.logs())?;
            let rows = count(&import, "rows_done");
            ensure!(rows >= before, "it went back from {before} to {rows}");
            self.changes += usize::from(rows > before);
            self.rows = rows;
            let job = format!("/v1/jobs/{}", import["job_id"].as_str().context("no job")?);
            let job = self.system.admin.read(&job).await?;
            if let Some(shown) = job["progress"]["rows_done"].as_i64() {
                ensure!(shown >= self.shown, "its job went back from {} to {shown}", self.shown);
                self.shown = shown;
            }
            if enough(&import) || over(&import) {
                return Ok(import);
            }
        }
    }
}

pub fn over(import: &Value) -> bool {
    import["status"] == "completed" || import["status"] == "failed"
}

async fn report(system: &System, path: &str) -> anyhow::Result<String> {
    let (status, report) = system.admin.get(&format!("{path}/errors")).await?;
    ensure!(status.is_success(), "{status} {report}");
    Ok(report.as_str().unwrap_or_default().to_owned())
}

/// A number for everything that the files tell of.
async fn data(system: &System) -> anyhow::Result<(i64, i64)> {
    let hash = |rows: &str| format!("select ('x' || substr(md5(({rows})), 1, 15))::bit(60)::bigint as n");
    let products = hash(
        "select string_agg(concat_ws(':', v.sku, v.price, v.position, p.slug, p.name), ' ' order by v.sku)
         from variants v join products p on p.id = v.product_id",
    );
    let levels = hash(
        "select string_agg(concat_ws(':', v.sku, s.on_hand), ' ' order by v.sku)
         from stock_levels s join variants v on v.id = s.variant_id",
    );
    Ok((system.count(&products).await?, system.count(&levels).await?))
}

const COUNTERS: [&str; 5] = ["rows_done", "rows_created", "rows_updated", "rows_unchanged", "rows_failed"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_in_parts_is_what_it_is_in_one_even_if_a_worker_dies() -> anyhow::Result<()> {
    let (products, stock) = files()?;
    ensure!(products.len() > 1024 * 1024, "{} bytes are cut by default", products.len());
    let whole = System::start(Plan::with(&[NEVER])).await?;
    let mut expected = Vec::new();
    for (kind, file) in [("products", &products), ("stock", &stock)] {
        let path = begin(&whole, kind, file.as_str()).await?;
        let import = Watch::new(&whole, &path).until(over).await?;
        ensure!(import["status"] == "completed", "{import}");
        expected.push((import, report(&whole, &path).await?));
    }
    ensure!(whole.count("select count(*) as n from flows").await? == 0);
    let expected_data = data(&whole).await?;
    drop(whole);

    let mut system = System::start(Plan::with(&[(CUT_FROM, "262144")]).workers(2)).await?;
    for ((kind, file), (single, errors)) in
        [("products", &products), ("stock", &stock)].into_iter().zip(&expected)
    {
        let path = begin(&system, kind, file.as_str()).await?;
        let half = i64::try_from(ROWS)? / 2;
        let mut watch = Watch::new(&system, &path);
        let import = watch.until(|import| count(import, "rows_done") > half).await?;
        ensure!(!over(&import), "{kind}: it was through before a worker could be killed");
        let (rows, shown, changes) = (watch.rows, watch.shown, watch.changes);
        ensure!(changes > 3, "{kind}: it got on by leaps");
        let both = "select count(distinct worker_id) as n from jobs where kind = 'import.part' and state = 'running'";
        system.until_count("both workers to have parts", both, 2).await?;
        system.workers.remove(0).kill().await?;
        system.add_worker(&[]).await?;
        let mut watch = Watch { rows, shown, ..Watch::new(&system, &path) };
        let import = watch.until(over).await?;
        ensure!(import["status"] == "completed", "{kind}: {import}");
        for counter in COUNTERS {
            ensure!(
                import[counter] == single[counter],
                "{kind}: {counter}: {import}, and in one job {single}"
            );
        }
        let found = report(&system, &path).await?;
        ensure!(found == *errors, "{kind}: the reports differ");
        ensure!(found.lines().count() > 200, "{kind}: {found}");
        let numbers: Vec<u64> =
            found.lines().skip(1).filter_map(|l| l.split(',').next()?.parse().ok()).collect();
        ensure!(numbers.is_sorted() && !numbers.is_empty(), "{kind}: not in the order of the file");
        let lost = "select count(*) as n from job_history where kind = 'import.part' and failures <> '[]'";
        ensure!(system.count(lost).await? > 0, "{kind}: no part was taken from the worker that died");
    }
    ensure!(data(&system).await? == expected_data, "the data differ");
    ensure!(
        system.count("select sum(on_hand_delta)::bigint as n from stock_ledger").await?
            == system.count("select sum(on_hand)::bigint as n from stock_levels").await?
    );
    ensure!(system.count("select count(*) as n from flows where state = 'done'").await? == 2);
    system.until_count("the files to be cleaned up", CLEANED, 2).await?;
    ensure!(walk(&system.folder().join("files"))? == 2, "files of parts are left");
    system.at_rest().await?;
    Ok(())
}

/// Cleaning comes last; a moment before it, nothing may be left to run.
pub const CLEANED: &str =
    "select count(*) as n from job_history where kind = 'import.clean' and state = 'done'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_cancelled_half_way_keeps_what_is_in_and_leaves_nothing_else() -> anyhow::Result<()> {
    let (products, _) = files()?;
    let system = System::start(Plan::default().workers(2)).await?;
    let path = begin(&system, "products", products).await?;
    let half = i64::try_from(ROWS)? / 3;
    let import = Watch::new(&system, &path).until(|import| count(import, "rows_done") > half).await?;
    ensure!(import["status"] == "running", "{import}");
    let job = format!("/v1/jobs/{}", import["job_id"].as_str().context("no job")?);
    let asked = Instant::now();
    let (status, answer) = system.admin.post(&format!("{job}/cancel"), &json!({})).await?;
    ensure!(status.is_success(), "{status} {answer}");
    let import = Watch::new(&system, &path).until(over).await?;
    println!("cancelled after {:?}", asked.elapsed());
    ensure!(import["status"] == "failed", "{import}");
    ensure!(import["error"].as_str().is_some_and(|error| error.contains("cancelled")), "{import}");
    system.until_count("the files to be cleaned up", CLEANED, 1).await?;
    let live = "select count(*) as n from jobs where kind like 'import.%'";
    system.until_count("its jobs to end", live, 0).await?;
    ensure!(system.admin.read(&job).await?["state"] == "cancelled");
    let import = system.admin.read(&path).await?;
    let rows = i64::try_from(ROWS)?;
    ensure!(count(&import, "rows_done") < rows, "{import}");
    let variants = system.count("select count(*) as n from variants").await?;
    ensure!(count(&import, "rows_created") == variants, "{variants} variants: {import}");
    ensure!(walk(&system.folder().join("files"))? == 1, "files of parts are left");
    ensure!(system.count("select count(*) as n from flows where state = 'cancelled'").await? == 1);
    // The next file is none the worse for it.
    let path = begin(&system, "products", "sku,name,price\nNEXT,Next,1\n").await?;
    let import = Watch::new(&system, &path).until(over).await?;
    ensure!(count(&import, "rows_created") == 1, "{import}");
    system.at_rest().await?;
    Ok(())
}

/// Every stage of an import in parts, in order.
const STAGES: [&str; 7] = [
    "import.after_begin",
    "import.before_split",
    "import.after_split",
    "import.part_moved",
    "import.before_merge",
    "import.after_merge",
    "import.before_clean",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_at_any_stage_of_an_import_repeats_and_loses_nothing() -> anyhow::Result<()> {
    let mut system = System::start(Plan::with(&[(CUT_FROM, "1")]).workers(0)).await?;
    for (place, stage) in STAGES.iter().enumerate() {
        let arm = format!("{stage}=kill:1");
        system.add_worker(&[("WAYBILL_FAIL_POINTS", arm.as_str())]).await?;
        let mut file = String::from("sku,name,price\n");
        for row in 0..200 {
            let price = if row % 40 == 7 { "free".to_owned() } else { format!("{row}.5") };
            writeln!(file, "S{place}-{},Thing {place} {row},{price}", row / 2 * 2)?;
        }
        let path = begin(&system, "products", file).await?;
        let mut victim = system.workers.pop().context("no worker")?;
        until(&format!("the worker to die at {stage}"), async || {
            Ok(if victim.has_ended()? { Ok(()) } else { Err(victim.log()) })
        })
        .await?;
        system.add_worker(&[]).await?;
        let import = Watch::new(&system, &path).until(over).await.with_context(|| (*stage).to_owned())?;
        ensure!(import["status"] == "completed", "after a kill at {stage}: {import}");
        let expected = [200, 100, 95, 0, 5];
        for (counter, expected) in COUNTERS.iter().zip(expected) {
            ensure!(count(&import, counter) == expected, "after a kill at {stage}: {counter}: {import}");
        }
        system.at_rest().await.with_context(|| format!("after a kill at {stage}"))?;
        let cleaned = i64::try_from(place + 1)?;
        system
            .until_count(&format!("the files to be cleaned up after a kill at {stage}"), CLEANED, cleaned)
            .await?;
        ensure!(walk(&system.folder().join("files"))? == place + 1, "files are left after a kill at {stage}");
        let mut worker = system.workers.pop().context("no worker")?;
        ensure!(worker.stop().await?, "the worker did not stop well: {}", worker.log());
    }
    let variants = i64::try_from(STAGES.len() * 100)?;
    ensure!(system.count("select count(*) as n from variants").await? == variants);
    Ok(())
}

/// Rows a second, in one job and in parts, on one and on two workers: `cargo xtask test -- --run-ignored only --no-capture -E
/// 'test(import_speed)'`; with `--cargo-profile release` for optimised binaries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, for a machine that does nothing else"]
async fn import_speed() -> anyhow::Result<()> {
    const FILE: i32 = 12_000;
    let mut products = String::from("sku,name,price,brand,category\n");
    let mut stock = String::from("sku,on_hand\n");
    for row in 0..FILE {
        writeln!(products, "SKU-{row},Product number {row},{}.99,Fjord,Home > Room {}", row % 89, row % 7)?;
        writeln!(stock, "SKU-{row},{:>36}", row % 13)?;
    }
    for (way, cut_from) in [("one job", NEVER.1), ("in parts", "262144")] {
        for workers in [1, 2] {
            let system = System::start(Plan::with(&[(CUT_FROM, cut_from)]).workers(workers)).await?;
            let mut figures = String::new();
            for (what, file) in [("new", &products), ("the same again", &products), ("stock", &stock)] {
                let kind = if what == "stock" { "stock" } else { "products" };
                let started = Instant::now();
                let path = begin(&system, kind, file.as_str()).await?;
                let import = Watch::new(&system, &path).until(over).await?;
                ensure!(import["status"] == "completed" && count(&import, "rows_failed") == 0, "{import}");
                let rows_a_second = f64::from(FILE) / started.elapsed().as_secs_f64();
                write!(figures, "; {what} {rows_a_second:.0}")?;
            }
            let cutting =
                "select coalesce(sum(extract(epoch from finished_at - claimed_at) * 1000), 0)::bigint as n
                           from job_history where kind = 'import.split'";
            let cutting = system.count(cutting).await?;
            println!("{way}, {workers} workers, rows/s{figures}; cutting took {cutting} ms in all");
        }
    }
    Ok(())
}
