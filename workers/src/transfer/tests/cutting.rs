//! The cut keeps order where it matters, and loses nothing.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;

use proptest::prelude::*;
use waybill_platform::{Config, files::Files};
use waybill_schema::imports::parts::PartRow;

use crate::transfer::{
    chunk::{Passed, Place},
    csv::{Cells, Columns, Header, Row, Rows},
    cut::Cutter,
    frames::Frames,
    kind::Kind,
    pieces::{self, Pieces},
    products::Products,
    stock::Stock,
};

/// A row of a file: which SKU, which product, and what is wrong with it.
type Line = (u8, u8, u8);

fn text((sku, product, flaw): Line) -> String {
    let name = format!("Name {}", product % 5);
    match flaw {
        0 => format!("S{sku},\"{name},1,2,p{product}\n"),
        1 => format!("S{sku},{name}\n"),
        2 => format!("S{sku},{name},many,many,p{product}\r\n"),
        3 => "\n   \n".to_owned(),
        4..8 => format!("S{sku},{name},1,2,\n"),
        _ => format!("S{sku},\"{name}\",1,2,p{product}\n"),
    }
}

async fn read(file: &str) -> (Vec<Row>, Header) {
    const COLUMNS: Columns =
        Columns { required: &["sku", "name", "price", "on_hand", "product"], optional: &[], prefix: None };
    let mut rows = Rows::new(file.as_bytes(), b',', 0, 1);
    let header = Header::read(&rows.next().await.unwrap().unwrap().content.unwrap(), &COLUMNS).unwrap();
    let mut all = Vec::new();
    while let Some(row) = rows.next().await.unwrap() {
        all.push(row);
    }
    (all, header)
}

/// Cuts a file; the rows of each part as its job reads them.
async fn cut<K: Kind>(
    kind: &K,
    file: &str,
    known: &HashMap<String, String>,
    (parts, together): (usize, usize),
) -> Vec<Vec<(Row, Passed)>> {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().to_str().unwrap();
    let config = Config::from_variables([
        ("WAYBILL_DATABASE__URL", "postgres://localhost/unused"),
        ("WAYBILL_FILES__URL", url),
    ])
    .unwrap();
    let files = waybill_platform::files::store(&config.files).unwrap();
    let (_, header) = read(file).await;
    let mut rows = Rows::new(file.as_bytes(), b',', 0, 1);
    rows.next().await.unwrap();
    let mut cutter = Cutter::new(kind, &header, Pieces::new(files.clone(), "cut".to_owned(), parts));
    let mut place = Place { number: 1, end: 0 };
    let mut taken = 0;
    while let Some(row) = rows.next().await.unwrap() {
        cutter.take(&row, rows.bytes(), &mut place);
        taken += 1;
        if taken % together == 0 {
            cutter.put(known).await.unwrap();
        }
    }
    cutter.put(known).await.unwrap();
    let mut all = Vec::new();
    for part in cutter.finish().await.unwrap() {
        all.push(rows_of(&files, &part).await);
    }
    all
}

async fn rows_of(files: &Files, part: &PartRow) -> Vec<(Row, Passed)> {
    let mut rows = Vec::new();
    for number in 0..part.sizes.len() {
        let file = files.open(&pieces::key(&part.prefix, number)).await.unwrap();
        let mut frames = Frames::new(file.into_reader(), b',', 0);
        while let Some(row) = frames.next().await.unwrap() {
            rows.push(row);
        }
    }
    rows
}

/// What a row is about; none for one that cannot be used.
fn sku_and_product(header: &Header, row: &Row) -> Option<(String, String, String)> {
    let record = row.content.as_ref().ok()?;
    let mut cells = Cells::new(header, record).ok()?;
    if cells.all_blank() || cells.text("price") == Some("many") {
        return None;
    }
    let mut text = |column: &str| cells.text(column).unwrap_or_default().to_owned();
    // A quote that some later row closes makes one row of them, with a name that is refused.
    if text("name").contains('\n') {
        return None;
    }
    Some((text("sku"), text("product"), text("name")))
}

/// Everything is there once, as it stood in the file, and in its order within each part.
fn complete(parts: &[Vec<(Row, Passed)>], rows: &[Row]) {
    let mut cut: Vec<&(Row, Passed)> = parts.iter().flatten().collect();
    for part in parts {
        assert!(part.is_sorted_by_key(|(row, _)| row.number));
    }
    cut.sort_by_key(|(row, _)| row.number);
    assert_eq!(
        cut.iter().map(|(row, _)| (row.number, &row.content)).collect::<Vec<_>>(),
        rows.iter().map(|row| (row.number, &row.content)).collect::<Vec<_>>()
    );
    if let Some(last) = rows.last() {
        assert_eq!(cut.iter().map(|(_, passed)| passed.rows).sum::<i64>(), last.number - 1);
        assert_eq!(cut.iter().map(|(_, passed)| passed.bytes).sum::<i64>(), last.end);
    }
}

/// Which part has the good rows of each key; a key in two parts fails.
fn together(
    parts: &[Vec<(Row, Passed)>],
    header: &Header,
    mut key: impl FnMut((String, String, String)) -> String,
) {
    let mut of: HashMap<String, usize> = HashMap::new();
    let mut all: Vec<(i64, usize, (String, String, String))> = Vec::new();
    for (part, rows) in parts.iter().enumerate() {
        all.extend(
            rows.iter().filter_map(|(row, _)| Some((row.number, part, sku_and_product(header, row)?))),
        );
    }
    // In the order of the file, as `key` may depend on what came before.
    all.sort_by_key(|(number, ..)| *number);
    for (number, part, what) in all {
        let key = key(what);
        assert_eq!(*of.entry(key.clone()).or_insert(part), part, "row {number} of {key} is in another part");
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_of_a_sku_and_of_a_product_stay_in_order(
        lines in proptest::collection::vec((0_u8..20, 0_u8..12, 0_u8..30), 0..120),
        known in proptest::collection::hash_map(0_u8..20, 0_u8..12, 0..6),
        parts in 1_usize..6,
        at_once in 1_usize..40,
    ) {
        let body: String = lines.into_iter().map(text).collect();
        let file = format!("\nsku,name,price,on_hand,product\n{body}");
        let known: HashMap<String, String> =
            known.into_iter().map(|(sku, product)| (format!("S{sku}"), format!("p{product}"))).collect();
        let (rows, header) = block_on(read(&file));

        let by_sku = block_on(cut(&Stock, &file, &known, (parts, at_once)));
        complete(&by_sku, &rows);
        together(&by_sku, &header, |(sku, ..)| sku);

        let kind = Products { currency: "GBP".parse().unwrap() };
        let by_product = block_on(cut(&kind, &file, &known, (parts, at_once)));
        complete(&by_product, &rows);
        together(&by_product, &header, |(sku, ..)| sku);
        // The product that a SKU has, or that its first row asks for; without one, the name says which slug it wants.
        let mut first: HashMap<String, String> = known;
        together(&by_product, &header, |(sku, product, name)| {
            let asked = if product.is_empty() { waybill_schema::catalogue::slugify(&name, "") } else { product };
            first.entry(sku).or_insert(asked).clone()
        });
    }
}
