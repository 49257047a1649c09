//! What the invoices say about each product.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::line::Line;

/// A stock code and what its sale lines add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    pub code: String,
    /// The description seen most often; the stock code where no line has one.
    pub name: String,
    /// The median of the prices asked, GBP. Of an even number the lower one of the middle two, so
    /// that it is a price that was really asked.
    pub price: Decimal,
    /// Units sold.
    pub sold: i64,
}

/// Collects while the file is read.
#[derive(Debug, Default)]
pub struct Tally {
    by_code: BTreeMap<String, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    descriptions: BTreeMap<String, u64>,
    /// Price to the number of lines with it: few distinct prices, however many lines.
    prices: BTreeMap<Decimal, u64>,
    sold: i64,
}

impl Tally {
    pub fn add(&mut self, line: &Line) {
        let entry = self.by_code.entry(line.code.clone()).or_default();
        if !line.description.is_empty() {
            *entry.descriptions.entry(line.description.clone()).or_default() += 1;
        }
        *entry.prices.entry(line.price).or_default() += 1;
        entry.sold += line.quantity;
    }

    pub fn finish(self) -> Vec<Product> {
        self.by_code
            .into_iter()
            .filter_map(|(code, entry)| {
                let price = median(&entry.prices)?;
                let name = most_frequent(&entry.descriptions).unwrap_or(&code).to_owned();
                Some(Product { code, name, price, sold: entry.sold })
            })
            .collect()
    }
}

/// Of equally frequent ones the first in the alphabet, so that two runs agree.
fn most_frequent(descriptions: &BTreeMap<String, u64>) -> Option<&str> {
    let most = descriptions.values().max()?;
    descriptions.iter().find(|(_, count)| *count == most).map(|(text, _)| text.as_str())
}

fn median(prices: &BTreeMap<Decimal, u64>) -> Option<Decimal> {
    let total: u64 = prices.values().sum();
    let mut seen = 0;
    prices.iter().find_map(|(price, count)| {
        seen += count;
        (seen * 2 >= total).then_some(*price)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn median_of(pence: &[i64]) -> Option<Decimal> {
        let mut prices = BTreeMap::new();
        for pence in pence {
            *prices.entry(Decimal::new(*pence, 2)).or_default() += 1;
        }
        median(&prices)
    }

    #[test]
    fn the_median_is_a_price_that_was_asked() {
        assert_eq!(median_of(&[]), None);
        assert_eq!(median_of(&[255]), Some(Decimal::new(255, 2)));
        assert_eq!(median_of(&[100, 300]), Some(Decimal::new(100, 2)));
        assert_eq!(median_of(&[100, 200, 900]), Some(Decimal::new(200, 2)));
        assert_eq!(median_of(&[500, 100, 100, 100]), Some(Decimal::new(100, 2)));
    }

    #[test]
    fn the_most_frequent_description_wins_and_ties_are_settled_the_same_way_each_time() {
        let counted = |pairs: &[(&str, u64)]| {
            pairs.iter().map(|(text, count)| ((*text).to_owned(), *count)).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(most_frequent(&counted(&[("LANTERN", 1), ("WHITE LANTERN", 3)])), Some("WHITE LANTERN"));
        assert_eq!(most_frequent(&counted(&[("B", 2), ("A", 2)])), Some("A"));
        assert_eq!(most_frequent(&counted(&[])), None);
    }
}
