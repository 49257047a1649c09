//! What makes a product, or a variant, one that can be kept.

use std::collections::{BTreeMap, HashSet};

use poem_openapi::types::MaybeUndefined;
use rust_decimal::Decimal;
use serde_json::Value;
use waybill_schema::{
    Currency, Sku, UnitPrice,
    catalogue::{
        ProductStatus,
        products::{NewProduct, ProductChange},
        slugify,
        variants::NewVariant,
    },
};

use super::dto::{CreateProduct, CreateVariant, UpdateProduct};
use crate::{
    admin::categories::dto::check_slug,
    error::{ApiResult, FieldErrors},
    http::UnitPriceDto,
};

const MAX_NAME: usize = 300;
const MAX_DESCRIPTION: usize = 20_000;
const MAX_ATTRIBUTES: usize = 100;
const MAX_ATTRIBUTE_BYTES: usize = 16 * 1024;
const MAX_OPTIONS: usize = 5;
const MAX_VARIANTS: usize = 200;
const MAX_CATEGORIES: usize = 50;

fn status(text: &str, errors: &mut FieldErrors) -> Option<ProductStatus> {
    errors.take("status", "invalid", text.parse())
}

fn attributes(map: BTreeMap<String, Value>, errors: &mut FieldErrors) -> Value {
    let count = map.len();
    let value: Value = map.into_iter().collect();
    if count > MAX_ATTRIBUTES || value.to_string().len() > MAX_ATTRIBUTE_BYTES {
        let message = format!("must have at most {MAX_ATTRIBUTES} members and {MAX_ATTRIBUTE_BYTES} bytes");
        errors.add("attributes", "too_long", message);
    }
    value
}

/// A description may be empty and have line breaks.
fn description(text: &str, errors: &mut FieldErrors) -> String {
    errors.text("description", text, 0, MAX_DESCRIPTION)
}

fn not_negative(field: &str, value: Option<i32>, errors: &mut FieldErrors) {
    if value.is_some_and(|value| value < 0) {
        errors.add(field, "invalid", "must not be negative");
    }
}

fn options(names: &[String], errors: &mut FieldErrors) -> Vec<String> {
    if names.len() > MAX_OPTIONS {
        errors.add("options", "too_many", format!("must be at most {MAX_OPTIONS}"));
    }
    let mut seen = HashSet::new();
    let mut checked = Vec::new();
    for (i, name) in names.iter().take(MAX_OPTIONS).enumerate() {
        let field = format!("options[{i}]");
        let name = errors.text(&field, name, 1, 60);
        if !name.is_empty() && !seen.insert(name.to_lowercase()) {
            errors.add(field, "duplicate", "is there twice");
        }
        checked.push(name);
    }
    checked
}

fn categories(count: usize, errors: &mut FieldErrors) {
    if count > MAX_CATEGORIES {
        errors.add("category_ids", "too_many", format!("must be at most {MAX_CATEGORIES}"));
    }
}

/// A place among variants.
pub fn position_of(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

/// A price, and the one before its reduction, in one currency.
pub fn check_price(
    at: &str,
    price: &UnitPriceDto,
    compare: Option<&UnitPriceDto>,
    errors: &mut FieldErrors,
) -> Option<(UnitPrice, Option<Decimal>)> {
    let price = price.parse(&format!("{at}price"), errors);
    let field = format!("{at}compare_at_price");
    let compare = match compare {
        Some(compare) => Some(compare.parse(&field, errors)?),
        None => None,
    };
    let price = price?;
    if compare.is_some_and(|compare| compare.currency() != price.currency()) {
        errors.add(format!("{field}.currency"), "invalid", "must be the currency of the price");
    }
    Some((price, compare.map(UnitPrice::amount)))
}

/// A value for every option and for nothing else.
pub fn check_option_values(
    at: &str,
    values: Option<BTreeMap<String, String>>,
    options: &[String],
    errors: &mut FieldErrors,
) -> BTreeMap<String, String> {
    let field = format!("{at}option_values");
    let values = values.unwrap_or_default();
    for name in values.keys().filter(|name| !options.contains(name)) {
        errors.add(format!("{field}.{name}"), "unknown_field", "is no option of the product");
    }
    for name in options.iter().filter(|name| !values.contains_key(*name)) {
        errors.add(format!("{field}.{name}"), "required", "is required: the product has this option");
    }
    let checked = values.into_iter().map(|(name, value)| {
        let value = errors.text(&format!("{field}.{name}"), &value, 1, 100);
        (name, value)
    });
    checked.collect()
}

impl CreateVariant {
    /// The row; `at` is the path of the variant in the body, with its dot.
    pub fn parse(
        self,
        at: &str,
        options: &[String],
        position: i32,
        errors: &mut FieldErrors,
    ) -> Option<NewVariant> {
        let sku = errors.take(&format!("{at}sku"), "invalid", Sku::parse(&self.sku));
        let price = check_price(at, &self.price, self.compare_at_price.as_ref(), errors);
        let values = check_option_values(at, self.option_values, options, errors);
        let title = if let Some(title) = &self.title {
            errors.text(&format!("{at}title"), title, 0, 200)
        } else {
            let values: Vec<&str> =
                options.iter().filter_map(|name| values.get(name)).map(String::as_str).collect();
            values.join(" / ")
        };
        let (price, compare_at_price) = price?;
        Some(NewVariant {
            sku: sku?,
            title,
            price,
            compare_at_price,
            option_values: values.into_iter().map(|(name, value)| (name, Value::String(value))).collect(),
            position: self.position.unwrap_or(position),
            active: self.active.unwrap_or(true),
        })
    }
}

/// Everything that goes into the database for a new product.
pub struct Parsed {
    /// The product.
    pub product: NewProduct,
    /// Names of its options.
    pub options: Vec<String>,
    /// Its variants.
    pub variants: Vec<NewVariant>,
}

impl CreateProduct {
    /// The rows, or every field at fault.
    pub fn parse(self) -> ApiResult<Parsed> {
        let mut errors = FieldErrors::new();
        let e = &mut errors;
        let name = e.text("name", &self.name, 1, MAX_NAME);
        let slug_given = self.slug.is_some();
        let slug = match self.slug {
            Some(slug) => check_slug(slug, e),
            None => slugify(&name, "product"),
        };
        let options = options(&self.options.unwrap_or_default(), e);
        categories(self.category_ids.as_ref().map_or(0, Vec::len), e);
        for (field, value) in [
            ("weight_grams", self.weight_grams),
            ("length_mm", self.length_mm),
            ("width_mm", self.width_mm),
            ("height_mm", self.height_mm),
        ] {
            not_negative(field, value, e);
        }
        let product = NewProduct {
            slug,
            slug_given,
            name,
            description: description(&self.description.unwrap_or_default(), e),
            brand: e.optional_text("brand", self.brand.as_deref(), 120),
            status: match &self.status {
                Some(text) => status(text, e).unwrap_or(ProductStatus::Draft),
                None => ProductStatus::Draft,
            },
            featured: self.featured.unwrap_or(false),
            attributes: attributes(self.attributes.unwrap_or_default(), e),
            tax_class: e
                .optional_text("tax_class", self.tax_class.as_deref(), 60)
                .unwrap_or_else(|| "standard".to_owned()),
            weight_grams: self.weight_grams,
            length_mm: self.length_mm,
            width_mm: self.width_mm,
            height_mm: self.height_mm,
        };
        if self.variants.is_empty() {
            e.add("variants", "required", "must have at least one variant");
        } else if self.variants.len() > MAX_VARIANTS {
            e.add("variants", "too_many", format!("must be at most {MAX_VARIANTS}"));
        }
        let given = self.variants.into_iter().take(MAX_VARIANTS).enumerate();
        let variants: Vec<Option<NewVariant>> = given
            .map(|(i, variant)| variant.parse(&format!("variants[{i}]."), &options, position_of(i), e))
            .collect();
        check_together(&variants, e);
        errors.check()?;
        Ok(Parsed { product, options, variants: variants.into_iter().flatten().collect() })
    }
}

/// SKUs and combinations of options once each, and one currency.
fn check_together(variants: &[Option<NewVariant>], errors: &mut FieldErrors) {
    let mut skus = HashSet::new();
    let mut combinations = HashSet::new();
    let mut currency: Option<Currency> = None;
    for (i, variant) in variants.iter().enumerate() {
        let Some(variant) = variant else { continue };
        if !skus.insert(variant.sku.as_str()) {
            errors.add(format!("variants[{i}].sku"), "duplicate", "is there twice");
        }
        let values = &variant.option_values;
        if values.as_object().is_some_and(|o| !o.is_empty()) && !combinations.insert(values.to_string()) {
            errors.add(format!("variants[{i}].option_values"), "duplicate", "are those of another variant");
        }
        if *currency.get_or_insert(variant.price.currency()) != variant.price.currency() {
            let field = format!("variants[{i}].price.currency");
            errors.add(field, "invalid", "must be that of the other variants");
        }
    }
}

#[allow(clippy::option_option, reason = "what diesel's changesets want: leave, clear or set")]
fn cleared<T>(value: MaybeUndefined<T>) -> Option<Option<T>> {
    match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(value)),
    }
}

impl UpdateProduct {
    /// The changes of the product's own columns and the names of its options if they change, or every field at fault.
    pub fn parse(self) -> ApiResult<(ProductChange, Option<Vec<String>>)> {
        let mut errors = FieldErrors::new();
        let e = &mut errors;
        let change = ProductChange {
            name: self.name.map(|name| e.text("name", &name, 1, MAX_NAME)),
            slug: self.slug.map(|slug| check_slug(slug, e)),
            description: self.description.map(|text| description(&text, e)),
            brand: cleared(self.brand).map(|brand| e.optional_text("brand", brand.as_deref(), 120)),
            status: self.status.and_then(|text| status(&text, e)),
            featured: self.featured,
            attributes: self.attributes.map(|map| attributes(map, e)),
            tax_class: self.tax_class.map(|text| e.text("tax_class", &text, 1, 60)),
            weight_grams: cleared(self.weight_grams),
            length_mm: cleared(self.length_mm),
            width_mm: cleared(self.width_mm),
            height_mm: cleared(self.height_mm),
        };
        for (field, value) in [
            ("weight_grams", change.weight_grams),
            ("length_mm", change.length_mm),
            ("width_mm", change.width_mm),
            ("height_mm", change.height_mm),
        ] {
            not_negative(field, value.flatten(), e);
        }
        categories(self.category_ids.as_ref().map_or(0, Vec::len), e);
        let options = self.options.map(|names| options(&names, e));
        errors.check()?;
        Ok((change, options))
    }
}
