//! Files with the dirt that real ones have.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context as _, ensure};
use reqwest::{Method, StatusCode, multipart};
use rust_decimal::Decimal;
use serde_json::Value;
use waybill_tests::{Plan, System, client, until};

const SAMPLE: &str = include_str!("../../../xtask/data/online-retail-sample.csv");

/// A file's upload, as a browser sends it.
pub fn upload(system: &System, kind: &str, file: Vec<u8>) -> reqwest::RequestBuilder {
    let part = multipart::Part::bytes(file).file_name("file.csv");
    let form = multipart::Form::new().text("kind", kind.to_owned()).part("file", part);
    system.admin.request(Method::POST, "/v1/admin/imports").multipart(form)
}

/// Uploads a file; returns where to follow it.
pub async fn begin(system: &System, kind: &str, file: impl Into<Vec<u8>>) -> anyhow::Result<String> {
    let (status, import) = client::answer(upload(system, kind, file.into())).await?;
    ensure!(status == StatusCode::ACCEPTED, "{status} {import}");
    Ok(format!("/v1/admin/imports/{}", import["id"].as_str().context("no id")?))
}

/// Waits until an import is over.
async fn over(system: &System, path: &str) -> anyhow::Result<Value> {
    until("the import to be over", async || {
        let import = system.admin.read(path).await?;
        let is_over = import["status"] == "completed" || import["status"] == "failed";
        Ok(if is_over { Ok(import) } else { Err(import.to_string()) })
    })
    .await
    .with_context(|| system.logs())
}

/// Uploads a file and returns what came of it, with the report of its bad rows.
async fn import(system: &System, kind: &str, file: impl Into<Vec<u8>>) -> anyhow::Result<(Value, String)> {
    let path = begin(system, kind, file).await?;
    let import = over(system, &path).await?;
    let (_, report) = system.admin.get(&format!("{path}/errors")).await?;
    Ok((import, report.as_str().unwrap_or_default().to_owned()))
}

pub fn count(import: &Value, field: &str) -> i64 {
    import[field].as_i64().unwrap_or(-1)
}

/// What the sample says of each stock code: its newest description and price, and how many were sold.
fn sample() -> BTreeMap<String, (String, Decimal, i64)> {
    let mut products = BTreeMap::new();
    for row in csv::Reader::from_reader(SAMPLE.as_bytes()).records() {
        let row = row.unwrap();
        let (quantity, price): (i64, Decimal) = (row[3].parse().unwrap(), row[5].parse().unwrap());
        if quantity > 0 && price > Decimal::ZERO {
            let entry = products.entry(row[1].to_owned()).or_insert((String::new(), price, 0));
            *entry = (row[2].to_owned(), price, entry.2 + quantity);
        }
    }
    products
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_catalogue_goes_in_and_again_without_a_change() -> anyhow::Result<()> {
    let system = System::start(Plan::default()).await?;
    let products = sample();
    let mut catalogue = csv::Writer::from_writer(b"\xef\xbb\xbf".to_vec());
    let mut stock = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    catalogue.write_record(["sku", "name", "price", "currency", "status"])?;
    stock.write_record(["sku", "on_hand"])?;
    for (code, (name, price, sold)) in &products {
        catalogue.write_record([code, name, &price.to_string(), "GBP", "active"])?;
        stock.write_record([code, &sold.to_string()])?;
    }
    let (catalogue, stock) = (catalogue.into_inner()?, stock.into_inner()?);
    let all = i64::try_from(products.len())?;
    ensure!(all > 500, "{all} products in the sample");

    let (done, report) = import(&system, "products", catalogue.clone()).await?;
    ensure!(count(&done, "rows_created") == all && count(&done, "rows_failed") == 0, "{done} {report}");
    let (done, report) = import(&system, "stock", stock.clone()).await?;
    ensure!(count(&done, "rows_done") == all && count(&done, "rows_failed") == 0, "{done} {report}");
    let sold: i64 = products.values().map(|p| p.2).sum();
    ensure!(system.count("select sum(on_hand)::bigint as n from stock_levels").await? == sold);
    ensure!(system.count("select sum(on_hand_delta)::bigint as n from stock_ledger").await? == sold);

    // Again: nothing new, nothing changed, nothing said twice.
    let versions = "select sum(version)::bigint as n from products";
    let before = system.count(versions).await?;
    let (done, _) = import(&system, "products", catalogue).await?;
    ensure!(count(&done, "rows_unchanged") == all, "{done}");
    ensure!(system.count(versions).await? == before);
    let (done, _) = import(&system, "stock", stock).await?;
    ensure!(count(&done, "rows_unchanged") == all, "{done}");
    ensure!(system.count("select sum(on_hand_delta)::bigint as n from stock_ledger").await? == sold);
    system.at_rest().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_rows_are_named_and_the_good_ones_go_in() -> anyhow::Result<()> {
    let system = System::start(Plan::default()).await?;
    let rows: [(&[u8], &str); 17] = [
        (b"sku,name,price", ""),
        (b"G-1,Good,1.00", ""),
        (b",No code,1.00", "3,sku"),
        (b"B-2,Negative,-1.00", "4,price"),
        (b"B-3,Decimals,1.23456", "5,price"),
        (b"B-4,Words,one pound", "6,price"),
        (b"B-5,Too few", "7,row"),
        (b"B-6,Too many,1.00,2.00", "8,row"),
        (b"B-7,Caf\xe9,1.00", "9,name"),
        (b"G-2,\"Quoted, with \"\"quotes\"\"\",2.00", ""),
        (b"", ""),
        (b"G-3, Spaces around , 3.00 ", ""),
        ("G-4,Tasse à café ☕,4.00".as_bytes(), ""),
        (b"G-1,Good again,1.50", ""),
        (b"B-8,\"Quote left open,1.00", "15,row"),
        (b"=cmd|'/C calc'!A0,Formula,free", "16,price"),
        (b"G-5,Last,5.00", ""),
    ];
    let file: Vec<u8> = rows.iter().flat_map(|(row, _)| [row, b"\r\n".as_slice()].concat()).collect();
    let (done, report) = import(&system, "products", [b"\xef\xbb\xbf".as_slice(), &file].concat()).await?;
    ensure!(done["status"] == "completed", "{done}");
    let mut bad = 0;
    for (row, expected) in rows.iter().filter(|(_, expected)| !expected.is_empty()) {
        bad += 1;
        let line = report.lines().find(|line| line.starts_with(&format!("{expected},")));
        let line =
            line.with_context(|| format!("{expected} ({}) in {report}", String::from_utf8_lossy(row)))?;
        ensure!(line.rsplit(',').next().is_some_and(|reason| reason.len() > 5), "no reason: {line}");
    }
    ensure!(count(&done, "rows_failed") == bad, "{bad} bad rows: {done}\n{report}");
    ensure!(report.lines().count() == usize::try_from(bad)? + 1, "only the bad ones: {report}");
    ensure!(count(&done, "rows_created") == 5, "{done}\n{report}");
    // G-1 came twice: the later row counts.
    let products = "select count(*) as n from variants v join products p on p.id = v.product_id";
    for (sku, name, price) in [
        ("G-1", "Good again", "1.5"),
        ("G-2", "Quoted, with \"quotes\"", "2"),
        ("G-3", "Spaces around", "3"),
        ("G-4", "Tasse à café ☕", "4"),
        ("G-5", "Last", "5"),
    ] {
        let one = format!("{products} where v.sku = '{sku}' and p.name = '{name}' and v.price = {price}");
        ensure!(system.count(&one).await? == 1, "{sku} is not {name} for {price}");
    }
    ensure!(system.count("select count(*) as n from variants").await? == 5);

    let stock = "sku;on_hand\nG-1;5\nG-9;5\nG-2;-5\nG-3;many\nG-4;1.5\nG-5;7\n";
    let (done, report) = import(&system, "stock", stock).await?;
    ensure!(count(&done, "rows_failed") == 4, "{done} {report}");
    for expected in ["3,sku,G-9", "4,on_hand", "5,on_hand,many", "6,on_hand,1.5"] {
        ensure!(report.lines().any(|line| line.starts_with(expected)), "{expected} in {report}");
    }
    ensure!(system.stock("G-1").await? == (5, 0) && system.stock("G-5").await? == (7, 0));
    system.at_rest().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be_used_at_all_say_why() -> anyhow::Result<()> {
    let system = System::start(Plan::with(&[("WAYBILL_API__UPLOAD_LIMIT_BYTES", "1048576")])).await?;
    for (file, reason) in [
        (b"sku,name\nA,B\n".to_vec(), "price"),
        (b"A-1,Lantern,3.39\nA-2,Bag,1.00\n".to_vec(), "sku"),
        (b"sku,name,price,colour\nA,B,1,red\n".to_vec(), "colour"),
        (b"sku,name,price,price\nA,B,1,1\n".to_vec(), "twice"),
        (b"\n\n\n".to_vec(), "empty"),
    ] {
        let shown = String::from_utf8_lossy(&file).into_owned();
        let (done, _) = import(&system, "products", file).await?;
        ensure!(done["status"] == "failed", "{shown:?}: {done}");
        let error = done["error"].as_str().unwrap_or_default();
        ensure!(error.contains(reason), "{shown:?}: {error}");
    }
    // The header alone is a file of no rows.
    let (done, _) = import(&system, "products", "sku,name,price\n").await?;
    ensure!(done["status"] == "completed" && count(&done, "rows_done") == 0, "{done}");

    let refused: [(&str, Vec<u8>, StatusCode, &str); 5] = [
        ("products", b"\xff\xfes\0k\0u\0".to_vec(), StatusCode::UNPROCESSABLE_ENTITY, "validation"),
        ("products", b"PK\x03\x04 and so on".to_vec(), StatusCode::UNPROCESSABLE_ENTITY, "validation"),
        ("products", vec![], StatusCode::UNPROCESSABLE_ENTITY, "validation"),
        ("weather", b"sku,name,price\n".to_vec(), StatusCode::UNPROCESSABLE_ENTITY, "validation"),
        ("products", vec![b'x'; 1_048_577], StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
    ];
    for (kind, file, status, code) in refused {
        let reply = client::reply(upload(&system, kind, file)).await?;
        ensure!(reply.status == status && reply.body["code"] == code, "{reply:?}");
    }
    // Nothing of what was refused is kept.
    let files = walk(&system.folder().join("files"))?;
    ensure!(files == 6, "{files} files of 6 imports");
    ensure!(system.count("select count(*) as n from variants").await? == 0);
    system.at_rest().await?;
    Ok(())
}

/// Files below a folder.
pub fn walk(folder: &std::path::Path) -> anyhow::Result<usize> {
    let mut files = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        files += if path.is_dir() { walk(&path)? } else { 1 };
    }
    Ok(files)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_in_the_middle_repeats_nothing() -> anyhow::Result<()> {
    const ROWS: i64 = 20_000;
    const EVERY: i64 = 500;
    let mut system = System::start(Plan::default()).await?;
    let mut catalogue = String::from("sku,name,price,status\n");
    let mut stock = String::from("sku,on_hand\n");
    for row in 1..=ROWS {
        let price = if row % EVERY == 0 { "free".to_owned() } else { format!("{}.99", row % 100) };
        writeln!(catalogue, "SKU-{row},Product number {row},{price},active")?;
        writeln!(stock, "SKU-{row},{}", row % 7)?;
    }
    let bad = ROWS / EVERY;
    for (kind, file) in [("products", catalogue), ("stock", stock)] {
        let path = begin(&system, kind, file).await?;
        let mut kills = 0;
        // Killed whenever it has got a quarter further, until it is through.
        for quarter in 0..3 {
            let moved = until("the import to get on", async || {
                let import = system.admin.read(&path).await?;
                let got = count(&import, "rows_done");
                let done = import["status"] == "completed";
                Ok(if done || got > quarter * ROWS / 4 { Ok(!done) } else { Err(import.to_string()) })
            })
            .await
            .with_context(|| system.logs())?;
            if moved {
                system.workers.remove(0).kill().await?;
                system.add_worker(&[]).await?;
                kills += 1;
            }
        }
        ensure!(kills > 0, "{kind}: it was through before it could be killed");
        println!("{kind}: killed {kills} times in {ROWS} rows");
        let done = over(&system, &path).await?;
        ensure!(done["status"] == "completed" && count(&done, "rows_done") == ROWS, "{kind}: {done}");
        let sum = ["rows_created", "rows_updated", "rows_unchanged", "rows_failed"];
        ensure!(sum.iter().map(|field| count(&done, field)).sum::<i64>() == ROWS, "{kind}: {done}");
        // Products that could not be made have no stock either.
        ensure!(count(&done, "rows_failed") == bad, "{kind}: {done}");
        let errors = "select count(*) as n from import_errors";
        ensure!(system.count(errors).await? == if kind == "products" { bad } else { 2 * bad }, "{kind}");
    }
    ensure!(system.count("select count(*) as n from variants").await? == ROWS - bad);
    let on_hand = (1..=ROWS).filter(|row| row % EVERY != 0).map(|row| row % 7).sum::<i64>();
    ensure!(system.count("select sum(on_hand)::bigint as n from stock_levels").await? == on_hand);
    ensure!(system.count("select sum(on_hand_delta)::bigint as n from stock_ledger").await? == on_hand);
    system.at_rest().await?;
    // Each product is told of once, as each is written once.
    let told = "select count(*) as n from (select aggregate_id from event_log where topic = 'product.updated'
                group by 1 having count(*) = 1) t";
    ensure!(system.count(told).await? == ROWS - bad);
    Ok(())
}
