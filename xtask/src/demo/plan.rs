//! Who pays with which card, and what must come of it.

use crate::retail::Invoice;

/// How the order goes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// All lines at once.
    Lines,
    /// Line by line into a cart, then the cart.
    Cart,
}

/// How the shopper learns the order's fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    Stream,
    Poll,
}

/// One invoice on its way to becoming an order.
#[derive(Debug, Clone)]
pub struct Purchase {
    pub invoice: Invoice,
    pub card: &'static str,
    pub declined: bool,
    pub route: Route,
    pub follow: Follow,
    /// Sent twice at once under one idempotency key, as an impatient thumb does.
    pub twice: bool,
}

const DECLINING: [&str; 3] = ["tok_declined", "tok_insufficient_funds", "tok_expired"];
/// A cart takes one request a line; longer invoices go in at once.
const CART_LINES: usize = 40;

/// The same for every run: every 20th card is declined, every 25th loses its answer once, every 10th
/// checkout is sent twice.
pub fn purchases(invoices: &[Invoice]) -> Vec<Purchase> {
    invoices.iter().enumerate().map(|(index, invoice)| purchase(index, invoice)).collect()
}

fn purchase(index: usize, invoice: &Invoice) -> Purchase {
    let declined = index % 20 == 9;
    let card = match index {
        _ if declined => DECLINING[(index / 20) % DECLINING.len()],
        _ if index % 25 == 4 => "tok_lost_answer_once",
        _ if index.is_multiple_of(2) => "tok_visa",
        _ => "tok_mastercard",
    };
    let guest = invoice.customer.is_none();
    Purchase {
        card,
        declined,
        // A registered customer has one cart, but may place several invoices at once.
        route: if guest && fits_cart(invoice) { Route::Cart } else { Route::Lines },
        follow: if index.is_multiple_of(2) { Follow::Stream } else { Follow::Poll },
        twice: index % 10 == 3,
        invoice: invoice.clone(),
    }
}

/// A cart has one line, so one price, for each product.
fn fits_cart(invoice: &Invoice) -> bool {
    let mut codes: Vec<_> = invoice.lines.iter().map(|line| &line.code).collect();
    codes.sort();
    codes.dedup();
    codes.len() == invoice.lines.len() && codes.len() <= CART_LINES
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;
    use crate::retail::Dataset;

    #[test]
    fn the_sample_shows_every_way_to_buy() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/online-retail-sample.csv");
        let data = Dataset::read(&file).unwrap();
        let purchases = purchases(&data.invoices);
        let count = |test: fn(&Purchase) -> bool| purchases.iter().filter(|p| test(p)).count();
        assert_eq!(count(|p| p.declined), 10);
        assert_eq!(count(|p| p.card == "tok_lost_answer_once"), 6);
        assert_eq!(count(|p| p.twice), 20);
        assert_eq!(count(|p| p.follow == Follow::Stream), 100);
        assert_eq!(count(|p| p.route == Route::Cart), 5);
        for card in DECLINING {
            assert!(purchases.iter().any(|p| p.card == card), "{card}");
        }
    }
}
