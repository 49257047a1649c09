//! What the lines cost: the catalogue's price, or the agreed one.

use std::collections::HashMap;

use rust_decimal::Decimal;
use waybill_schema::{
    Currency, Money, Quantity, UnitPrice,
    carts::lines::{CartLine, Offer},
    orders::NewLine,
};

use super::parse::{Agreed, Wanted};
use crate::error::FieldErrors;

/// Lines with their prices and their sum.
#[derive(Debug)]
pub struct Priced {
    /// The lines, in the buyer's order.
    pub lines: Vec<NewLine>,
    /// Their sum.
    pub total: Money,
}

/// Prices lines given by SKU. Errors go under `lines[i]`.
pub fn lines(
    wanted: &[Wanted],
    offers: &[Offer],
    currency: Currency,
    errors: &mut FieldErrors,
) -> Option<Priced> {
    let offers: HashMap<&str, &Offer> = offers.iter().map(|offer| (offer.sku.as_str(), offer)).collect();
    let mut priced = Vec::with_capacity(wanted.len());
    for line in wanted {
        let at = |name: &str| format!("lines[{}].{name}", line.index);
        let Some(offer) = offers.get(line.sku.as_str()) else {
            errors.add(at("sku"), "unknown", "there is no such SKU");
            continue;
        };
        if let Some((code, message)) = obstacle(offer, currency) {
            errors.add(at("sku"), code, message);
            continue;
        }
        let price = line.agreed.unwrap_or(offer.price);
        let field = if line.agreed.is_some() { "agreed_price" } else { "quantity" };
        let made = make(offer, line.quantity, price, line.agreed.is_some(), currency);
        priced.extend(errors.take(&at(field), "invalid", made));
    }
    sum(priced, "lines", currency, errors)
}

/// Prices the lines of a cart. Errors go under `cart_id` and `agreed_prices[i]`.
pub fn cart(
    lines: &[CartLine],
    agreed: &[Agreed],
    currency: Currency,
    errors: &mut FieldErrors,
) -> Option<Priced> {
    if lines.is_empty() {
        errors.add("cart_id", "empty", "the cart is empty");
    }
    let mut prices: HashMap<&str, &Agreed> = agreed.iter().map(|price| (price.sku.as_str(), price)).collect();
    let mut priced = Vec::with_capacity(lines.len());
    for CartLine { offer, quantity } in lines {
        if let Some((code, message)) = obstacle(offer, currency) {
            errors.add("cart_id", code, format!("{}: {message}", offer.sku));
            continue;
        }
        let agreed = prices.remove(offer.sku.as_str());
        let field = match agreed {
            Some(price) => format!("agreed_prices[{}].unit_price", price.index),
            None => "cart_id".to_owned(),
        };
        let price = agreed.map_or(offer.price, |agreed| agreed.price);
        let Some(quantity) = errors.take("cart_id", "invalid", Quantity::new(i64::from(*quantity))) else {
            continue;
        };
        let made = make(offer, quantity, price, agreed.is_some(), currency);
        priced.extend(errors.take(&field, "invalid", made));
    }
    for price in prices.values() {
        errors.add(format!("agreed_prices[{}].sku", price.index), "unknown", "is not in the cart");
    }
    sum(priced, "cart_id", currency, errors)
}

/// Why an offer cannot be bought in this currency.
pub fn obstacle(offer: &Offer, currency: Currency) -> Option<(&'static str, String)> {
    if !offer.on_sale {
        return Some(("not_on_sale", "is not on sale".to_owned()));
    }
    if offer.currency != currency.as_str() {
        return Some(("currency", format!("is priced in {}, not in {currency}", offer.currency)));
    }
    None
}

fn make(
    offer: &Offer,
    quantity: Quantity,
    price: Decimal,
    agreed: bool,
    currency: Currency,
) -> Result<NewLine, waybill_schema::domain::money::MoneyError> {
    let unit_price = UnitPrice::new(price, currency)?;
    Ok(NewLine {
        variant_id: offer.variant_id,
        product_id: offer.product_id,
        sku: offer.sku.clone(),
        name: offer.name.clone(),
        variant_title: offer.title.clone(),
        quantity,
        unit_price,
        agreed,
        total: unit_price.line_total(quantity)?,
    })
}

fn sum(lines: Vec<NewLine>, field: &str, currency: Currency, errors: &mut FieldErrors) -> Option<Priced> {
    let total = errors.take(field, "too_large", Money::sum(lines.iter().map(|line| line.total), currency))?;
    Some(Priced { lines, total })
}
