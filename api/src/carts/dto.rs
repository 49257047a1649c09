//! A cart on the wire.

use chrono::{DateTime, Utc};
use poem_openapi::{Enum, Object};
use rust_decimal::Decimal;
use uuid::Uuid;
use waybill_schema::{
    Currency, Money, Quantity, UnitPrice,
    carts::{CartRow, CartStatus, lines},
};

use crate::{
    checkout::price,
    error::{ApiError, ApiResult},
    http::{MoneyDto, UnitPriceDto},
};

/// A cart to open.
#[derive(Debug, Default, Object)]
#[oai(deny_unknown_fields)]
pub struct OpenCart {
    /// ISO 4217; the shop's own currency by default.
    pub currency: Option<String>,
}

/// Something to put into a cart.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct AddLine {
    /// Stock keeping unit.
    pub sku: String,
    /// Pieces to add, 1 to 1,000,000.
    pub quantity: i64,
}

/// How many of something shall be in a cart.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct SetLine {
    /// Pieces, 0 to 1,000,000; 0 takes the line out.
    pub quantity: i64,
}

/// Why a line cannot be bought as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum CartProblem {
    /// Product or variant was taken from sale.
    NotOnSale,
    /// It is now priced in another currency than the cart's.
    Currency,
    /// There are fewer than the line wants.
    OutOfStock,
}

/// A line of a cart, priced as the catalogue stands now.
#[derive(Debug, Object)]
pub struct CartLine {
    /// Stock keeping unit.
    pub sku: String,
    /// Variant.
    pub variant_id: Uuid,
    /// Product.
    pub product_id: Uuid,
    /// Product name.
    pub name: String,
    /// Pieces.
    pub quantity: i32,
    /// Price of one.
    pub unit_price: UnitPriceDto,
    /// Unit price x quantity, rounded half away from zero to the currency's decimals.
    pub total: MoneyDto,
    /// Pieces that can be had.
    pub available: i64,
    /// Why the line cannot be bought as it is; null if it can.
    pub problem: Option<CartProblem>,
}

/// What has become of a cart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "CartStatus", rename_all = "snake_case")]
pub enum CartStatusDto {
    /// Being filled.
    Open,
    /// An order took it.
    CheckedOut,
    /// Its lines moved to the customer's cart.
    Merged,
    /// Nobody came back for a week.
    Expired,
}

/// A cart and what it comes to.
#[derive(Debug, Object)]
#[oai(rename = "Cart")]
pub struct CartDto {
    /// Id.
    pub id: Uuid,
    /// For `X-Cart-Token`: the right to use a guest's cart. Only in the answer that opened it.
    #[oai(skip_serializing_if_is_none)]
    pub token: Option<String>,
    /// What has become of it; only an open one can be changed.
    pub status: CartStatusDto,
    /// ISO 4217.
    pub currency: String,
    /// The lines, oldest first.
    pub lines: Vec<CartLine>,
    /// Sum of the lines in the cart's currency.
    pub subtotal: MoneyDto,
    /// What a checkout would charge.
    pub total: MoneyDto,
    /// Pieces in all.
    pub item_count: i64,
    /// +1 with every change.
    pub version: i64,
    /// When it expires: 7 days after the last change.
    pub expires_at: DateTime<Utc>,
}

impl CartDto {
    /// A cart with its lines, as the database has them.
    pub fn new(cart: CartRow, lines: Vec<lines::CartLine>) -> ApiResult<Self> {
        let currency: Currency = cart.currency.parse().map_err(ApiError::internal)?;
        let item_count = lines.iter().map(|line| i64::from(line.quantity)).sum();
        let mut sum = Money::zero(currency);
        let mut rows = Vec::with_capacity(lines.len());
        for line in lines {
            let (row, counted) = line_dto(line, currency)?;
            if let Some(total) = counted {
                sum = sum.checked_add(total)?;
            }
            rows.push(row);
        }
        Ok(Self {
            id: cart.id,
            token: None,
            status: match cart.status {
                CartStatus::Open => CartStatusDto::Open,
                CartStatus::CheckedOut => CartStatusDto::CheckedOut,
                CartStatus::Merged => CartStatusDto::Merged,
                CartStatus::Expired => CartStatusDto::Expired,
            },
            currency: currency.to_string(),
            lines: rows,
            subtotal: sum.into(),
            total: sum.into(),
            item_count,
            version: cart.version,
            expires_at: cart.expires_at,
        })
    }
}

/// The line, and what it adds to the cart's sum: nothing if it cannot be bought in the cart's currency at all.
fn line_dto(line: lines::CartLine, currency: Currency) -> ApiResult<(CartLine, Option<Money>)> {
    let lines::CartLine { offer, quantity } = line;
    let problem = match price::obstacle(&offer, currency) {
        Some(("currency", _)) => Some(CartProblem::Currency),
        Some(_) => Some(CartProblem::NotOnSale),
        None if !offer.backorder && offer.available < i64::from(quantity) => Some(CartProblem::OutOfStock),
        None => None,
    };
    let own: Currency = offer.currency.parse().map_err(ApiError::internal)?;
    let unit_price = UnitPrice::new(offer.price, own)?;
    let total = match Quantity::new(i64::from(quantity)) {
        Ok(quantity) => unit_price.line_total(quantity)?,
        Err(_) => Money::new(Decimal::ZERO, own)?,
    };
    let bought = !matches!(problem, Some(CartProblem::Currency | CartProblem::NotOnSale));
    let row = CartLine {
        sku: offer.sku,
        variant_id: offer.variant_id,
        product_id: offer.product_id,
        name: offer.name,
        quantity,
        unit_price: unit_price.into(),
        total: total.into(),
        available: offer.available.max(0),
        problem,
    };
    Ok((row, bought.then_some(total)))
}
