//! Files that are cut into parts.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::HashMap, fmt::Write as _, pin::pin};

use uuid::Uuid;
use waybill_jobs::{
    Registry, cancel, flows, queues,
    testing::{self, Mortal},
};
use waybill_schema::imports::{ImportKind, ImportRow, ImportStatus};

use super::{Setup, counts};
use crate::transfer::steps;

/// With every file cut, and a new stretch every 20 rows.
pub(super) async fn cutting() -> (Setup, Registry) {
    let setup = Setup::with(3, |importer| {
        importer.cut_from = 1;
        importer.stretch = 20;
    })
    .await;
    let registry = steps(Registry::new(), &setup.importer);
    testing::serve(setup.db.pool(), &[queues::IMPORT_PARTS]).await;
    (setup, registry)
}

/// Products of three variants, SKUs that come again at another price and in another product, bad rows, blank rows, at the end a
/// quote that is left open.
pub(super) fn catalogue(rows: usize) -> String {
    let mut file = String::from("\n sku,name,price,product,category\n");
    for row in 0..rows {
        let sku = if row % 7 == 6 { row - 5 } else { row };
        let product = sku / 3;
        match row % 23 {
            20 => writeln!(file, "S{sku},Thing {product}").unwrap(),
            21 => writeln!(file, "S{sku},Thing {product},free,p-{product},Home").unwrap(),
            22 => writeln!(file, "\n\nS{},Elsewhere,1,p-{product}-x,", sku / 2).unwrap(),
            _ => {
                let room = product % 4;
                writeln!(file, "S{sku},Thing {product},{}.5,p-{product},Home > Room {room}", row % 9)
                    .unwrap();
            }
        }
    }
    file + "Q,\"open,1,p,\n\n\n"
}

/// What is in the catalogue and in the stock, as one text.
async fn data(setup: &Setup) -> String {
    let variants =
        "select string_agg(concat_ws(':', v.sku, v.price, v.position, p.slug, p.name), ' ' order by v.sku)
                    from variants v join products p on p.id = v.product_id";
    let categories = "select string_agg(concat_ws(':', p.slug, c.slug), ' ' order by p.slug, c.slug)
                      from product_categories pc join products p on p.id = pc.product_id
                      join categories c on c.id = pc.category_id";
    let levels = "select string_agg(concat_ws(':', v.sku, s.on_hand), ' ' order by v.sku)
                  from stock_levels s join variants v on v.id = s.variant_id";
    let db = &setup.db;
    format!("{}\n{}\n{}", db.text(variants).await, db.text(categories).await, db.text(levels).await)
}

/// Files in the store.
pub(super) fn files(setup: &Setup) -> usize {
    fn below(folder: &std::path::Path) -> usize {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| if path.is_dir() { below(&path) } else { 1 }).sum()
    }
    below(setup.folder.path())
}

pub(super) async fn run_all(setup: &Setup, registry: &Registry, import: &ImportRow) -> ImportRow {
    let ran = testing::drain_all(setup.db.pool(), registry).await;
    let failed: Vec<_> = ran.iter().filter(|ran| ran.error.is_some()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    setup.find(import.id).await
}

#[tokio::test]
async fn parts_come_to_what_one_job_comes_to() {
    let whole = Setup::new(500).await;
    let (cut, registry) = cutting().await;
    let stock: Vec<String> = (0..90).map(|row| format!("S{},{}\n", row * 7 % 60, row % 7 - 1)).collect();
    let stock = format!("sku,on_hand\n{}", stock.concat());
    for (kind, file) in [(ImportKind::Products, catalogue(150)), (ImportKind::Stock, stock)] {
        let expected = whole.import(kind, &file).await;
        let import = cut.upload(kind, file.as_bytes()).await;
        let import = run_all(&cut, &registry, &import).await;
        assert_eq!(import.status, ImportStatus::Completed, "{import:?}");
        assert_eq!(counts(&import), counts(&expected), "{kind:?}");
        assert!(import.rows_failed > 10 && import.rows_updated > 5, "{import:?}");
        assert_eq!(cut.errors(&import).await, whole.errors(&expected).await);
        assert_eq!(data(&cut).await, data(&whole).await);
    }
    let flows = "select count(*) || ' ' || count(*) filter (where state = 'done') from flows";
    assert_eq!(cut.db.text(flows).await, "13 13", "stretches of 20 rows");
    assert_eq!(cut.db.text("select count(*) from import_parts").await, "0");
    assert_eq!(files(&cut), 2, "what was uploaded, and nothing of the parts");
    let results = "select string_agg(result->>'rows_done', ' ' order by created_at) from job_history where kind = 'import.run'";
    let done = cut.db.text("select string_agg(rows_done::text, ' ' order by id) from imports").await;
    assert_eq!(cut.db.text(results).await, done);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_not_cut() {
    let (setup, registry) = cutting().await;
    let import = setup.upload(ImportKind::Products, b"sku,name\nA,B\n").await;
    let import = run_all(&setup, &registry, &import).await;
    assert_eq!(import.status, ImportStatus::Failed);
    assert!(import.error.unwrap().contains("no column price"));
    assert_eq!(setup.db.text("select count(*) from flows").await, "0");
}

#[tokio::test]
async fn workers_that_die_in_parts_repeat_and_lose_nothing() {
    let whole = Setup::new(500).await;
    let (setup, registry) = cutting().await;
    let file = catalogue(40);
    let expected = whole.import(ImportKind::Products, &file).await;
    let import = setup.upload(ImportKind::Products, file.as_bytes()).await;
    // Each attempt of a job lives a little longer than the one before.
    let mut lives: HashMap<String, usize> = HashMap::new();
    let mut deaths = 0;
    loop {
        // The reaper, and time.
        let again = "update jobs set state = 'queued', run_at = now(), worker_id = null, claimed_at = null
                     where state <> 'queued'";
        setup.db.execute(again).await;
        flows::sweep(&mut *setup.db.conn().await).await.unwrap();
        let next = "select (select id from jobs order by kind = 'import.run', id limit 1)";
        let next = setup.db.text(next).await;
        let Ok(id) = next.parse::<Uuid>() else { break };
        let polls = lives.entry(next).or_default();
        *polls += 1;
        let future = pin!(testing::run_one(setup.db.pool(), &registry, id));
        match (Mortal { future, polls: *polls }).await {
            None => deaths += 1,
            Some(ran) => assert_eq!(ran.error, None, "{ran:?}"),
        }
    }
    assert!(deaths > 40, "{deaths}");
    let import = setup.find(import.id).await;
    assert_eq!((import.status, counts(&import)), (ImportStatus::Completed, counts(&expected)));
    assert_eq!(setup.errors(&import).await, whole.errors(&expected).await);
    assert_eq!(data(&setup).await, data(&whole).await);
    assert_eq!(files(&setup), 1);
}

#[tokio::test]
async fn cancelling_ends_the_parts_and_keeps_the_rows_that_are_in() {
    for begun in [0, 1, 2, 3] {
        let (setup, registry) = cutting().await;
        let import = setup.upload(ImportKind::Products, catalogue(60).as_bytes()).await;
        let pool = setup.db.pool();
        if begun > 0 {
            testing::run_one(pool, &registry, import.job_id).await;
        }
        if begun > 1 {
            testing::drain(pool, &registry, queues::IMPORTS).await;
            flows::sweep(&mut *setup.db.conn().await).await.unwrap();
        }
        if begun > 2 {
            let part =
                setup.db.text("select id from jobs where kind = 'import.part' order by id limit 1").await;
            testing::run_one(pool, &registry, part.parse().unwrap()).await;
        }
        cancel(&mut *setup.db.conn().await, import.job_id, "user", "no more").await.unwrap();
        if begun > 0 {
            // Before any part that waits.
            testing::run_one(pool, &registry, import.job_id).await;
        }
        let ended = run_all(&setup, &registry, &import).await;
        let state = setup.db.text("select state from job_history where kind = 'import.run'").await;
        assert_eq!(
            (state.as_str(), setup.db.text("select count(*) from jobs").await.as_str()),
            ("cancelled", "0")
        );
        assert_eq!(files(&setup), 1, "cancelled at {begun}");
        if begun > 0 {
            assert_eq!(ended.status, ImportStatus::Failed, "cancelled at {begun}");
            assert!(ended.error.unwrap().contains("cancelled"));
        }
        assert_eq!(ended.rows_done > 0, begun > 2, "cancelled at {begun}");
        let variants: i64 = setup.db.text("select count(*) from variants").await.parse().unwrap();
        assert_eq!(ended.rows_created, variants, "what is in is counted");
    }
}

#[tokio::test]
async fn a_dead_part_fails_the_import_and_retrying_the_imports_job_goes_on() {
    let whole = Setup::new(500).await;
    let (setup, registry) = cutting().await;
    let file = catalogue(60);
    let expected = whole.import(ImportKind::Products, &file).await;
    let import = setup.upload(ImportKind::Products, file.as_bytes()).await;
    let pool = setup.db.pool();
    // In the second part of the first stretch something is wrong with the machine.
    testing::run_one(pool, &registry, import.job_id).await;
    testing::drain(pool, &registry, queues::IMPORTS).await;
    flows::sweep(&mut *setup.db.conn().await).await.unwrap();
    setup.db.execute("update import_parts set prefix = 'elsewhere/' || prefix where part = 1; update jobs set max_attempts = 1 where kind = 'import.part'").await;
    let ran = testing::drain_all(pool, &registry).await;
    assert!(ran.iter().any(|ran| ran.kind == "import.part" && ran.outcome == "dead"), "{ran:?}");
    // The import's own job looks now and then.
    testing::advance_to(pool, chrono::Utc::now() + chrono::Duration::minutes(1)).await;
    testing::drain_all(pool, &registry).await;
    let failed = setup.find(import.id).await;
    assert_eq!(failed.status, ImportStatus::Failed);
    assert!(failed.error.unwrap().contains("internal error"));
    assert_eq!(setup.db.text("select count(*) from dead_letters").await, "2");

    setup.db.execute("update import_parts set prefix = substr(prefix, 11) where part = 1").await;
    assert!(waybill_jobs::status::retry_dead(&mut *setup.db.conn().await, import.job_id).await.unwrap());
    let import = run_all(&setup, &registry, &import).await;
    assert_eq!((import.status, import.error.as_deref()), (ImportStatus::Completed, None));
    assert_eq!(counts(&import), counts(&expected));
    assert_eq!(data(&setup).await, data(&whole).await);
    assert_eq!((files(&setup), setup.db.text("select count(*) from dead_letters").await.as_str()), (1, "0"));
}
