use std::collections::BTreeMap;

use poem_openapi::{Object, types::MaybeUndefined};

use crate::http::UnitPriceDto;

/// What changes of a variant; `null` clears.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct UpdateVariant {
    /// Stock keeping unit, unique in the shop.
    pub sku: Option<String>,
    /// What tells it from the others.
    pub title: Option<String>,
    /// Price of one, in the currency of the other variants.
    pub price: Option<UnitPriceDto>,
    /// Price before a reduction; null for none.
    pub compare_at_price: MaybeUndefined<UnitPriceDto>,
    /// A value for each of the product's options.
    pub option_values: Option<BTreeMap<String, String>>,
    /// Place among the variants.
    pub position: Option<i32>,
    /// Whether it is on sale.
    pub active: Option<bool>,
}
