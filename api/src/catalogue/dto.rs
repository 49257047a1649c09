use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::{
    Currency,
    catalogue::{
        categories::CategoryRef,
        detail::{ProductDetail, VariantRow},
        listing::ListedProduct,
    },
};

use crate::http::{UnitPriceDto, price_text};

/// A category as others mention it.
#[derive(Debug, Clone, Object)]
#[oai(rename = "CategoryRef")]
pub struct CategoryRefDto {
    /// Id.
    pub id: Uuid,
    /// Unique name in URLs.
    pub slug: String,
    /// Name.
    pub name: String,
}

impl From<CategoryRef> for CategoryRefDto {
    fn from(row: CategoryRef) -> Self {
        Self { id: row.id, slug: row.slug, name: row.name }
    }
}

/// A product in a list.
#[derive(Debug, Object)]
#[oai(rename = "ProductSummary")]
pub struct ProductSummaryDto {
    /// Id.
    pub id: Uuid,
    /// Unique name in URLs.
    pub slug: String,
    /// Name.
    pub name: String,
    /// Brand.
    pub brand: Option<String>,
    /// `draft`, `active`, `inactive` or `discontinued`.
    pub status: String,
    /// Whether the shop shows it first.
    pub featured: bool,
    /// The cheapest variant's price, decimal text; null without variants on sale.
    pub price_min: Option<String>,
    /// The dearest variant's price, decimal text.
    pub price_max: Option<String>,
    /// Currency of both.
    pub currency: String,
    /// Whether some variant can be bought now.
    pub in_stock: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl ProductSummaryDto {
    /// `shop` is the currency of a product that has no price.
    pub fn new(row: ListedProduct, shop: Currency) -> Self {
        let currency = currency(row.currency.as_deref(), shop);
        let text = |price: Option<Decimal>| price.map(|price| price_text(price, currency));
        Self {
            id: row.id,
            slug: row.slug,
            name: row.name,
            brand: row.brand,
            status: row.status.as_str().to_owned(),
            featured: row.featured,
            price_min: text(row.price_min),
            price_max: text(row.price_max),
            currency: currency.to_string(),
            in_stock: row.in_stock,
            created_at: row.created_at,
        }
    }
}

/// A product with everything.
#[derive(Debug, Object)]
#[oai(rename = "Product")]
pub struct ProductDto {
    /// Id.
    pub id: Uuid,
    /// Unique name in URLs.
    pub slug: String,
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Brand.
    pub brand: Option<String>,
    /// `draft`, `active`, `inactive` or `discontinued`.
    pub status: String,
    /// Whether the shop shows it first.
    pub featured: bool,
    /// Free attributes.
    pub attributes: Value,
    /// Tax class.
    pub tax_class: String,
    /// Weight in grams.
    pub weight_grams: Option<i32>,
    /// Length in millimetres.
    pub length_mm: Option<i32>,
    /// Width in millimetres.
    pub width_mm: Option<i32>,
    /// Height in millimetres.
    pub height_mm: Option<i32>,
    /// The cheapest variant's price, decimal text; null without variants on sale.
    pub price_min: Option<String>,
    /// The dearest variant's price, decimal text.
    pub price_max: Option<String>,
    /// Currency of both.
    pub currency: String,
    /// Whether some variant can be bought now.
    pub in_stock: bool,
    /// Its categories, by name.
    pub categories: Vec<CategoryRefDto>,
    /// Names of its options, in their order.
    pub options: Vec<String>,
    /// Its variants, in their order.
    pub variants: Vec<VariantDto>,
    /// +1 with every change of the product or its variants.
    pub version: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// What is bought: one combination of a product's options.
#[derive(Debug, Object)]
#[oai(rename = "Variant")]
pub struct VariantDto {
    /// Id.
    pub id: Uuid,
    /// Stock keeping unit.
    pub sku: String,
    /// What tells it from the others.
    pub title: String,
    /// Price of one.
    pub price: UnitPriceDto,
    /// Price before a reduction.
    pub compare_at_price: Option<UnitPriceDto>,
    /// Value of each option.
    pub option_values: BTreeMap<String, String>,
    /// Place among the variants.
    pub position: i32,
    /// Whether it is on sale.
    pub active: bool,
    /// Pieces that can be bought now, at least zero.
    pub available: i64,
    /// Whether it is sold beyond that.
    pub backorder: bool,
}

impl From<VariantRow> for VariantDto {
    fn from(row: VariantRow) -> Self {
        let currency = currency(Some(&row.currency), Currency::GBP);
        let price = |amount: Decimal| UnitPriceDto {
            amount: price_text(amount, currency),
            currency: currency.to_string(),
        };
        Self {
            id: row.id,
            sku: row.sku,
            title: row.title,
            price: price(row.price),
            compare_at_price: row.compare_at_price.map(price),
            option_values: serde_json::from_value(row.option_values).unwrap_or_default(),
            position: row.position,
            active: row.active,
            available: row.available.max(0),
            backorder: row.backorder,
        }
    }
}

impl ProductDto {
    /// `shop` is the currency of a product that has no price.
    pub fn new(detail: ProductDetail, shop: Currency) -> Self {
        let ProductDetail { product, categories, options, variants } = detail;
        let currency = currency(variants.first().map(|variant| variant.currency.as_str()), shop);
        let text = |price: Option<Decimal>| price.map(|price| price_text(price, currency));
        Self {
            id: product.id,
            slug: product.slug,
            name: product.name,
            description: product.description,
            brand: product.brand,
            status: product.status.as_str().to_owned(),
            featured: product.featured,
            attributes: product.attributes,
            tax_class: product.tax_class,
            weight_grams: product.weight_grams,
            length_mm: product.length_mm,
            width_mm: product.width_mm,
            height_mm: product.height_mm,
            price_min: text(product.price_min),
            price_max: text(product.price_max),
            currency: currency.to_string(),
            in_stock: variants.iter().any(|v| v.active && (v.available > 0 || v.backorder)),
            categories: categories.into_iter().map(Into::into).collect(),
            options,
            variants: variants.into_iter().map(Into::into).collect(),
            version: product.version,
            created_at: product.created_at,
            updated_at: product.updated_at,
        }
    }
}

fn currency(code: Option<&str>, shop: Currency) -> Currency {
    code.and_then(|code| Currency::parse(code).ok()).unwrap_or(shop)
}
