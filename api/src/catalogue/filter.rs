//! The query parameters that listing and search share.

use waybill_schema::{
    Conn,
    catalogue::{categories, listing::Filter},
};

use crate::{
    error::{ApiResult, FieldErrors},
    http::decimal,
};

/// As they came.
#[derive(Debug, Default)]
pub struct Parameters {
    /// Slug of a category; its subtree counts.
    pub category: Option<String>,
    /// Brand.
    pub brand: Option<String>,
    /// Decimal text.
    pub price_min: Option<String>,
    /// Decimal text.
    pub price_max: Option<String>,
    /// Only what can be bought now.
    pub in_stock: Option<bool>,
}

impl Parameters {
    /// Checks them all and looks the category up; an unknown one has nothing in it.
    pub async fn resolve(self, conn: &mut Conn) -> ApiResult<Filter> {
        let mut errors = FieldErrors::new();
        let mut price = |field: &str, text: Option<String>| {
            let text = text.filter(|text| !text.is_empty())?;
            let price = decimal(field, &text, &mut errors)?;
            if price.is_sign_negative() {
                errors.add(field, "invalid", "must not be negative");
            }
            Some(price)
        };
        let price_min = price("price_min", self.price_min);
        let price_max = price("price_max", self.price_max);
        if let (Some(min), Some(max)) = (price_min, price_max)
            && min > max
        {
            errors.add("price_max", "invalid", "must not be below price_min");
        }
        errors.check()?;
        let categories = match self.category.filter(|slug| !slug.is_empty()) {
            Some(slug) => Some(categories::subtree(conn, &slug).await?),
            None => None,
        };
        Ok(Filter {
            categories,
            brand: self.brand.filter(|brand| !brand.is_empty()),
            price_min,
            price_max,
            in_stock: self.in_stock.unwrap_or(false),
        })
    }
}
