//! One row of the file.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use chrono::NaiveDateTime;
use flate2::read::MultiGzDecoder;
use rust_decimal::Decimal;

const COLUMNS: [&str; 8] = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
];

/// A row whose fields have their types, dirt included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub invoice: String,
    pub code: String,
    /// Trimmed; empty when there is none.
    pub description: String,
    pub quantity: i64,
    /// The shop's local time.
    pub time: NaiveDateTime,
    /// GBP for one.
    pub price: Decimal,
    pub customer: Option<String>,
    pub country: String,
}

impl Line {
    /// Invoice numbers of cancellations begin with C.
    pub fn is_cancellation(&self) -> bool {
        self.invoice.starts_with(['C', 'c'])
    }

    pub fn is_sale(&self) -> bool {
        !self.is_cancellation() && self.quantity > 0 && self.price > Decimal::ZERO
    }
}

/// The rows of a `.csv` or `.csv.gz` file, as they are read. A row that cannot be understood is an
/// error of its own, with its number; the next one may be fine.
pub fn read(path: &Path) -> Result<impl Iterator<Item = Result<Line>>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let raw: Box<dyn Read> = if path.extension().is_some_and(|extension| extension == "gz") {
        Box::new(MultiGzDecoder::new(BufReader::new(file)))
    } else {
        Box::new(file)
    };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(raw);
    let header = reader.byte_headers().with_context(|| format!("reading {}", path.display()))?;
    let names: Vec<_> = header.iter().map(text).collect();
    ensure!(
        names == COLUMNS,
        "{} has the columns {}, expected {}",
        path.display(),
        names.join(","),
        COLUMNS.join(",")
    );
    Ok(reader.into_byte_records().enumerate().map(|(index, record)| {
        let record = record.with_context(|| format!("row {}", index + 2))?;
        parse(&record).with_context(|| format!("row {}", index + 2))
    }))
}

/// The published file is not UTF-8 everywhere (pound signs); a replacement character loses no row.
fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim().trim_start_matches('\u{feff}').to_owned()
}

fn parse(record: &csv::ByteRecord) -> Result<Line> {
    ensure!(record.len() == COLUMNS.len(), "{} fields, expected {}", record.len(), COLUMNS.len());
    let field = |index: usize| record.get(index).map(text).unwrap_or_default();
    let (quantity, time, price) = (field(3), field(4), field(5));
    // Excel's habit of "17850.0" for a number that is a name.
    let customer = field(6).trim_end_matches(".0").to_owned();
    Ok(Line {
        invoice: field(0),
        code: field(1),
        description: field(2),
        quantity: quantity.parse().with_context(|| format!("quantity {quantity:?}"))?,
        time: parse_time(&time).with_context(|| format!("date {time:?}"))?,
        price: price.parse().with_context(|| format!("price {price:?}"))?,
        customer: (!customer.is_empty()).then_some(customer),
        country: field(7),
    })
}

/// Copies of the data set write the time in two ways.
fn parse_time(text: &str) -> Result<NaiveDateTime> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M")
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S"))
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%m/%d/%Y %H:%M"))
        .context("neither 2010-12-01 08:26 nor 12/1/2010 8:26")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn row(fields: [&str; 8]) -> Result<Line> {
        parse(&csv::ByteRecord::from(fields.to_vec()))
    }

    #[test]
    fn a_row_gets_its_types() {
        let line =
            row(["536365", "85123A", " HEART ", "6", "2010-12-01 08:26", "2.55", "17850", "France"]).unwrap();
        assert_eq!(line.description, "HEART");
        assert_eq!(line.price, Decimal::new(255, 2));
        assert_eq!(line.customer.as_deref(), Some("17850"));
        assert!(line.is_sale());
    }

    #[test]
    fn both_ways_to_write_the_time_mean_the_same() {
        assert_eq!(parse_time("12/1/2010 8:26").unwrap(), parse_time("2010-12-01 08:26").unwrap());
        assert!(parse_time("yesterday").is_err());
    }

    #[test]
    fn cancellations_gifts_and_write_offs_are_no_sales() {
        for (invoice, quantity, price) in
            [("C536379", "-1", "27.50"), ("536414", "56", "0"), ("536589", "-10", "0")]
        {
            let line = row([invoice, "22139", "", quantity, "2010-12-01 11:52", price, "", "United Kingdom"])
                .unwrap();
            assert!(!line.is_sale(), "{invoice}");
        }
    }

    #[test]
    fn what_is_not_a_number_is_refused_with_its_text() {
        let error = row(["1", "2", "", "six", "2010-12-01 08:26", "2.55", "", "France"]).unwrap_err();
        assert!(format!("{error:#}").contains("\"six\""), "{error:#}");
    }
}
