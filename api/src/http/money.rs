//! Money in JSON: decimal text and a currency, never a float.

use poem_openapi::Object;
use rust_decimal::Decimal;
use waybill_schema::{Currency, Money, UnitPrice};

use crate::error::FieldErrors;

/// An amount of money with exactly its currency's decimals, as `{"amount": "12.30", "currency": "GBP"}`.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(rename = "Money", deny_unknown_fields)]
pub struct MoneyDto {
    /// Decimal text, `12.30`.
    pub amount: String,
    /// ISO 4217, `GBP`.
    pub currency: String,
}

/// The price of one piece: at least its currency's decimals, at most four.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(rename = "UnitPrice", deny_unknown_fields)]
pub struct UnitPriceDto {
    /// Decimal text, `12.30` or `0.0525`.
    pub amount: String,
    /// ISO 4217, `GBP`.
    pub currency: String,
}

impl From<Money> for MoneyDto {
    fn from(money: Money) -> Self {
        Self { amount: money.amount().to_string(), currency: money.currency().to_string() }
    }
}

impl From<UnitPrice> for UnitPriceDto {
    fn from(price: UnitPrice) -> Self {
        Self { amount: price_text(price.amount(), price.currency()), currency: price.currency().to_string() }
    }
}

impl MoneyDto {
    /// The domain type, or errors under `field.amount` and `field.currency`.
    pub fn parse(&self, field: &str, errors: &mut FieldErrors) -> Option<Money> {
        let (amount, currency) = parts(&self.amount, &self.currency, field, errors)?;
        errors.take(&format!("{field}.amount"), "invalid", Money::new(amount, currency))
    }
}

impl UnitPriceDto {
    /// The domain type, or errors under `field.amount` and `field.currency`.
    pub fn parse(&self, field: &str, errors: &mut FieldErrors) -> Option<UnitPrice> {
        let (amount, currency) = parts(&self.amount, &self.currency, field, errors)?;
        errors.take(&format!("{field}.amount"), "invalid", UnitPrice::new(amount, currency))
    }
}

fn parts(amount: &str, currency: &str, field: &str, errors: &mut FieldErrors) -> Option<(Decimal, Currency)> {
    let amount = decimal(&format!("{field}.amount"), amount, errors);
    let currency = errors.take(&format!("{field}.currency"), "invalid", Currency::parse(currency));
    Some((amount?, currency?))
}

/// Plain decimal text: digits, at most one point, perhaps a minus. No exponent, no spaces, no separators.
pub fn decimal(field: &str, text: &str, errors: &mut FieldErrors) -> Option<Decimal> {
    let plain = text.len() <= 32
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-')
        && !text.starts_with('.')
        && !text.ends_with('.');
    match text.parse::<Decimal>() {
        Ok(amount) if plain => Some(amount),
        _ => {
            errors.add(field, "invalid", "must be a decimal number as text, such as \"12.30\"");
            None
        }
    }
}

/// A unit price as text: without needless zeros, yet with the currency's decimals.
pub fn price_text(amount: Decimal, currency: Currency) -> String {
    let mut amount = amount.normalize();
    if amount.scale() < currency.decimals() {
        amount.rescale(currency.decimals());
    }
    amount.to_string()
}

/// An amount as the database has it (four decimals) as text with the currency's decimals, or more if it has more.
pub fn amount_text(amount: Decimal, currency: Currency) -> String {
    price_text(amount, currency)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn prices_keep_the_decimals_they_need() {
        let text =
            |amount: &str, code: &str| price_text(amount.parse().unwrap(), Currency::parse(code).unwrap());
        assert_eq!(text("2.5000", "GBP"), "2.50");
        assert_eq!(text("0.0525", "GBP"), "0.0525");
        assert_eq!(text("300.0000", "JPY"), "300");
        assert_eq!(text("0", "GBP"), "0.00");
    }

    #[test]
    fn only_plain_decimals_are_amounts() {
        for bad in ["", "1e3", "1,50", " 1", "1.", ".5", "one", "--1", "1.2.3", "0x1", "\u{661}"] {
            let mut errors = FieldErrors::new();
            assert_eq!(decimal("amount", bad, &mut errors), None, "{bad}");
            assert!(!errors.is_empty());
        }
    }
}
