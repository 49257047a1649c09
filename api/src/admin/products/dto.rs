use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use poem_openapi::{Object, types::MaybeUndefined};
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::{Currency, catalogue::listing::ListedProduct};

use crate::{catalogue::ProductSummaryDto, http::UnitPriceDto};

/// A product to be made, with its variants.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct CreateProduct {
    /// Name, 1 to 300 characters.
    pub name: String,
    /// Unique name in URLs; made from the name if missing.
    pub slug: Option<String>,
    /// Description, up to 20,000 characters.
    pub description: Option<String>,
    /// Brand.
    pub brand: Option<String>,
    /// `draft` (the default), `active`, `inactive` or `discontinued`.
    pub status: Option<String>,
    /// Whether the shop shows it first.
    pub featured: Option<bool>,
    /// Free attributes: an object of at most 100 members and 16 KiB.
    pub attributes: Option<BTreeMap<String, Value>>,
    /// Tax class, `standard` by default.
    pub tax_class: Option<String>,
    /// Weight in grams.
    pub weight_grams: Option<i32>,
    /// Length in millimetres.
    pub length_mm: Option<i32>,
    /// Width in millimetres.
    pub width_mm: Option<i32>,
    /// Height in millimetres.
    pub height_mm: Option<i32>,
    /// Its categories.
    pub category_ids: Option<Vec<Uuid>>,
    /// Names of its options, as `["Size", "Colour"]`, five at most.
    pub options: Option<Vec<String>>,
    /// Its variants, 1 to 200.
    pub variants: Vec<CreateVariant>,
}

/// A variant to be made.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct CreateVariant {
    /// Stock keeping unit, unique in the shop.
    pub sku: String,
    /// What tells it from the others; made from its option values if missing.
    pub title: Option<String>,
    /// Price of one. All variants of a product share a currency.
    pub price: UnitPriceDto,
    /// Price before a reduction.
    pub compare_at_price: Option<UnitPriceDto>,
    /// A value for each of the product's options.
    pub option_values: Option<BTreeMap<String, String>>,
    /// Place among the variants; last by default.
    pub position: Option<i32>,
    /// Whether it is on sale, true by default.
    pub active: Option<bool>,
}

/// What changes of a product; `null` clears.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct UpdateProduct {
    /// Name, 1 to 300 characters.
    pub name: Option<String>,
    /// Unique name in URLs.
    pub slug: Option<String>,
    /// Description, up to 20,000 characters.
    pub description: Option<String>,
    /// Brand.
    pub brand: MaybeUndefined<String>,
    /// `draft`, `active`, `inactive` or `discontinued`.
    pub status: Option<String>,
    /// Whether the shop shows it first.
    pub featured: Option<bool>,
    /// Free attributes, all of them.
    pub attributes: Option<BTreeMap<String, Value>>,
    /// Tax class.
    pub tax_class: Option<String>,
    /// Weight in grams.
    pub weight_grams: MaybeUndefined<i32>,
    /// Length in millimetres.
    pub length_mm: MaybeUndefined<i32>,
    /// Width in millimetres.
    pub width_mm: MaybeUndefined<i32>,
    /// Height in millimetres.
    pub height_mm: MaybeUndefined<i32>,
    /// Its categories, all of them.
    pub category_ids: Option<Vec<Uuid>>,
    /// Names of its options, all of them, in their order.
    pub options: Option<Vec<String>>,
}

/// A product in the list of those who keep it.
#[derive(Debug, Object)]
#[oai(rename = "AdminProductSummary")]
pub struct AdminProductDto {
    /// As everybody sees it.
    #[oai(flatten)]
    pub product: ProductSummaryDto,
    /// +1 with every change of the product or its variants.
    pub version: i64,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl AdminProductDto {
    /// `shop` is the currency of a product that has no price.
    pub fn new(row: ListedProduct, shop: Currency) -> Self {
        Self { version: row.version, updated_at: row.updated_at, product: ProductSummaryDto::new(row, shop) }
    }
}
