//! A file's sale invoices, its catalogue and its customers.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Result, ensure};
use chrono::NaiveDateTime;
use rust_decimal::Decimal;

use super::catalogue::{Product, Tally};
use super::line::{self, Line};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceLine {
    pub code: String,
    pub quantity: i64,
    /// GBP for one, as invoiced.
    pub price: Decimal,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    pub number: String,
    pub customer: Option<String>,
    pub country: String,
    pub time: NaiveDateTime,
    /// In file order; the same stock code may stand on several.
    pub lines: Vec<InvoiceLine>,
}

impl Invoice {
    /// GBP, exact.
    pub fn total(&self) -> Decimal {
        self.lines.iter().map(|line| line.price * Decimal::from(line.quantity)).sum()
    }
}

/// Rows that are no sale lines, by why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aside {
    pub cancellations: u64,
    /// Quantity or price not above zero.
    pub not_sold: u64,
    /// Fields missing or of the wrong type.
    pub unreadable: u64,
}

#[derive(Debug)]
pub struct Dataset {
    pub rows: u64,
    /// In the order of their first lines.
    pub invoices: Vec<Invoice>,
    /// By stock code.
    pub catalogue: Vec<Product>,
    /// Everybody known by id, buyer or not, with the country.
    pub customers: BTreeMap<String, String>,
    /// Stock codes that stand in the file but were never sold: given away, written off, misspelt. With
    /// the description, which is mostly empty.
    pub unsold: BTreeMap<String, String>,
    pub aside: Aside,
}

impl Dataset {
    pub fn read(path: &Path) -> Result<Self> {
        let mut builder = Builder::default();
        for row in line::read(path)? {
            builder.add(row);
        }
        let dataset = builder.finish();
        ensure!(!dataset.invoices.is_empty(), "{} holds no sale", path.display());
        Ok(dataset)
    }

    pub fn sale_lines(&self) -> usize {
        self.invoices.iter().map(|invoice| invoice.lines.len()).sum()
    }

    /// GBP, exact.
    pub fn total(&self) -> Decimal {
        self.invoices.iter().map(Invoice::total).sum()
    }
}

#[derive(Debug, Default)]
struct Builder {
    rows: u64,
    invoices: Vec<Invoice>,
    /// The lines of one invoice do not always stand together.
    places: HashMap<String, usize>,
    tally: Tally,
    customers: BTreeMap<String, String>,
    unsold: BTreeMap<String, String>,
    aside: Aside,
}

impl Builder {
    fn add(&mut self, row: Result<Line>) {
        self.rows += 1;
        if let Ok(Line { customer: Some(customer), country, .. }) = &row {
            self.customers.insert(customer.clone(), country.clone());
        }
        match row {
            Err(_) => self.aside.unreadable += 1,
            Ok(line) if line.is_sale() => self.sale(line),
            Ok(line) if line.is_cancellation() => self.aside.cancellations += 1,
            Ok(line) => {
                self.aside.not_sold += 1;
                self.unsold.insert(line.code, line.description);
            }
        }
    }

    fn sale(&mut self, line: Line) {
        self.tally.add(&line);
        let place = *self.places.entry(line.invoice.clone()).or_insert_with(|| {
            self.invoices.push(Invoice {
                number: line.invoice,
                customer: line.customer,
                country: line.country,
                time: line.time,
                lines: Vec::new(),
            });
            self.invoices.len() - 1
        });
        if let Some(invoice) = self.invoices.get_mut(place) {
            invoice.lines.push(InvoiceLine { code: line.code, quantity: line.quantity, price: line.price });
        }
    }

    fn finish(mut self) -> Dataset {
        let catalogue = self.tally.finish();
        for product in &catalogue {
            self.unsold.remove(&product.code);
        }
        Dataset {
            rows: self.rows,
            invoices: self.invoices,
            catalogue,
            customers: self.customers,
            unsold: self.unsold,
            aside: self.aside,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;

    fn sample_file() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/online-retail-sample.csv")
    }

    fn sample() -> Dataset {
        Dataset::read(&sample_file()).unwrap()
    }

    /// The figures of `data/README.md`.
    #[test]
    fn the_sample_adds_up_to_what_its_readme_says() {
        let sample = sample();
        let buyers: BTreeSet<_> = sample.invoices.iter().filter_map(|i| i.customer.as_ref()).collect();
        assert_eq!(buyers.len(), 144);
        assert_eq!(sample.invoices.iter().filter(|invoice| invoice.customer.is_none()).count(), 7);
        assert_eq!(sample.invoices.iter().map(|invoice| invoice.lines.len()).max(), Some(592));
        assert_eq!(sample.aside, Aside { cancellations: 33, not_sold: 10, unreadable: 0 });
        let sold: i64 = sample.catalogue.iter().map(|product| product.sold).sum();
        let invoiced: i64 = sample.invoices.iter().flat_map(|i| &i.lines).map(|line| line.quantity).sum();
        assert_eq!(sold, invoiced);
    }

    #[test]
    fn a_known_product_has_its_usual_name_and_price() {
        let sample = sample();
        let heart = sample.catalogue.iter().find(|product| product.code == "85123A").unwrap();
        assert_eq!(heart.name, "WHITE HANGING HEART T-LIGHT HOLDER");
        assert_eq!(heart.price, Decimal::new(255, 2));
    }

    /// Of another file when `WAYBILL_TEST_RETAIL_FILE` names one and `WAYBILL_TEST_RETAIL_SUMS` what
    /// it adds up to: rows, sale invoices, their lines, their sum, stock codes, customers.
    #[test]
    fn a_file_adds_up_to_what_is_known_of_it() {
        let sums = std::env::var("WAYBILL_TEST_RETAIL_SUMS");
        let (file, sums) = match (std::env::var("WAYBILL_TEST_RETAIL_FILE"), sums) {
            (Ok(file), Ok(sums)) => (PathBuf::from(file), sums),
            _ => (sample_file(), "4161 200 4118 77817.88 1507 151".to_owned()),
        };
        let data = Dataset::read(&file).unwrap();
        let found = [
            data.rows.to_string(),
            data.invoices.len().to_string(),
            data.sale_lines().to_string(),
            data.total().to_string(),
            data.catalogue.len().to_string(),
            data.customers.len().to_string(),
        ];
        assert_eq!(found.join(" "), sums);
    }
}
