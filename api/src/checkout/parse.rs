//! From the wire to what a checkout works with. Every fault is collected; those that only the catalogue knows come later.

use rust_decimal::Decimal;
use uuid::Uuid;
use waybill_schema::{Currency, Email, Quantity, Sku};

use super::{
    address,
    dto::{AgreedPrice, CheckoutLine, CheckoutRequest},
};
use crate::{error::FieldErrors, http::decimal, orders::dto::Address};

/// Lines of an order at most: the largest wholesale orders have about 1,100.
const MAX_LINES: usize = 2_000;

/// A checkout as far as it can be read without the catalogue.
#[derive(Debug)]
pub struct Draft {
    /// What to buy.
    pub source: Source,
    /// Everything else; complete only if `errors` is empty.
    pub terms: Terms,
    /// What is wrong so far.
    pub errors: FieldErrors,
}

/// What to buy.
#[derive(Debug)]
pub enum Source {
    /// What lies in a cart.
    Cart {
        /// The cart.
        id: Uuid,
        /// Prices that are not the catalogue's.
        agreed: Vec<Agreed>,
    },
    /// These lines, as far as they could be read.
    Lines(Vec<Wanted>),
}

/// A line to buy.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its place in the request, from 0.
    pub index: usize,
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// For how much, if not for the catalogue's price.
    pub agreed: Option<Decimal>,
}

/// A price for a line of the cart.
#[derive(Debug, Clone)]
pub struct Agreed {
    /// Its place in the request, from 0.
    pub index: usize,
    /// Which line.
    pub sku: Sku,
    /// Price of one.
    pub price: Decimal,
}

/// For whom, where to, how paid.
#[derive(Debug)]
pub struct Terms {
    /// Where mails go, if the request says so.
    pub email: Option<Email>,
    /// Whether it says so, perhaps wrongly.
    pub email_given: bool,
    /// Where the order goes.
    pub shipping: Address,
    /// Where the invoice goes.
    pub billing: Address,
    /// The gateway's token.
    pub payment_token: String,
    /// The buyer's own reference.
    pub reference: Option<String>,
    /// What the buyer was shown.
    pub expected_total: Option<Decimal>,
    /// The currency, if the request says so.
    pub currency: Option<Currency>,
}

impl CheckoutRequest {
    /// Whether the request sets prices itself.
    pub fn has_agreed_prices(&self) -> bool {
        let lines = self.lines.iter().flatten();
        self.agreed_prices.as_ref().is_some_and(|prices| !prices.is_empty())
            || lines.into_iter().any(|line| line.agreed_price.is_some())
    }

    /// Reads the request.
    pub fn parse(self) -> Draft {
        let mut errors = FieldErrors::new();
        let source = source(&self, &mut errors);
        let shipping = address::parse(&self.shipping_address, "shipping_address", &mut errors);
        let billing = match &self.billing_address {
            Some(billing) => address::parse(billing, "billing_address", &mut errors),
            None => shipping.clone(),
        };
        let email = self.email.as_deref().filter(|text| !text.trim().is_empty());
        let terms = Terms {
            email_given: email.is_some(),
            email: email.and_then(|text| errors.take("email", "invalid", Email::parse(text))),
            payment_token: payment_token(&self.payment.token, &mut errors),
            reference: errors.optional_text("reference", self.reference.as_deref(), 100),
            expected_total: self
                .expected_total
                .as_deref()
                .and_then(|text| decimal("expected_total", text, &mut errors)),
            currency: self
                .currency
                .as_deref()
                .and_then(|code| errors.take("currency", "invalid", Currency::parse(code))),
            shipping,
            billing,
        };
        Draft { source, terms, errors }
    }
}

fn source(request: &CheckoutRequest, errors: &mut FieldErrors) -> Source {
    match (request.cart_id, &request.lines) {
        (Some(id), None) => {
            let agreed = agreed(request.agreed_prices.as_deref().unwrap_or_default(), errors);
            Source::Cart { id, agreed }
        }
        (None, Some(wanted)) => {
            if request.agreed_prices.is_some() {
                let message = "belongs to a cart; a line has its own agreed_price";
                errors.add("agreed_prices", "invalid", message);
            }
            Source::Lines(lines(wanted, errors))
        }
        (Some(_), Some(_)) => {
            errors.add("lines", "invalid", "either cart_id or lines, not both");
            Source::Lines(Vec::new())
        }
        (None, None) => {
            errors.add("lines", "required", "either cart_id or lines is required");
            Source::Lines(Vec::new())
        }
    }
}

fn lines(lines: &[CheckoutLine], errors: &mut FieldErrors) -> Vec<Wanted> {
    if lines.is_empty() {
        errors.add("lines", "required", "an order needs at least one line");
    }
    if lines.len() > MAX_LINES {
        errors.add("lines", "too_long", format!("an order has at most {MAX_LINES} lines"));
        return Vec::new();
    }
    let mut wanted = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        let at = |name: &str| format!("lines[{index}].{name}");
        let sku = errors.take(&at("sku"), "invalid", Sku::parse(&line.sku));
        let quantity = errors.take(&at("quantity"), "invalid", Quantity::new(line.quantity));
        let agreed = match &line.agreed_price {
            Some(text) => match decimal(&at("agreed_price"), text, errors) {
                None => continue,
                price => price,
            },
            None => None,
        };
        if let (Some(sku), Some(quantity)) = (sku, quantity) {
            wanted.push(Wanted { index, sku, quantity, agreed });
        }
    }
    wanted
}

fn agreed(prices: &[AgreedPrice], errors: &mut FieldErrors) -> Vec<Agreed> {
    if prices.len() > MAX_LINES {
        errors.add("agreed_prices", "too_long", format!("at most {MAX_LINES}"));
        return Vec::new();
    }
    let mut seen = std::collections::HashSet::new();
    let mut agreed = Vec::with_capacity(prices.len());
    for (index, line) in prices.iter().enumerate() {
        let at = |name: &str| format!("agreed_prices[{index}].{name}");
        let sku = errors.take(&at("sku"), "invalid", Sku::parse(&line.sku));
        let price = decimal(&at("unit_price"), &line.unit_price, errors);
        if let (Some(sku), Some(price)) = (sku, price) {
            if seen.insert(sku.clone()) {
                agreed.push(Agreed { index, sku, price });
            } else {
                errors.add(at("sku"), "repeated", "a line of a cart has one price");
            }
        }
    }
    agreed
}

fn payment_token(text: &str, errors: &mut FieldErrors) -> String {
    const FIELD: &str = "payment.token";
    if looks_like_a_card_number(text) {
        errors.add(FIELD, "card_number", "must be the payment gateway's token, never a card number");
        return String::new();
    }
    errors.text(FIELD, text, 1, 200)
}

/// 12 to 19 digits, perhaps in groups, with a right check digit (Luhn).
fn looks_like_a_card_number(text: &str) -> bool {
    if !text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b' ' | b'-')) {
        return false;
    }
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let luhn = digits.iter().rev().enumerate().fold(0, |sum, (place, &digit)| match place % 2 {
        0 => sum + digit,
        _ => sum + digit * 2 / 10 + digit * 2 % 10,
    });
    (12..=19).contains(&digits.len()) && luhn % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::looks_like_a_card_number;

    #[test]
    fn card_numbers_are_told_from_tokens() {
        for number in ["4242424242424242", "4242 4242 4242 4242", "3782-822463-10005"] {
            assert!(looks_like_a_card_number(number), "{number}");
        }
        for token in ["tok_visa", "4242424242424241", "123", "pm_4242424242424242", ""] {
            assert!(!looks_like_a_card_number(token), "{token}");
        }
    }
}
