//! Product files: one row a variant.

use std::collections::HashMap;

use diesel::QueryResult;
use rust_decimal::Decimal;
use waybill_jobs::{emit_all, events::ProductUpdated};
use waybill_schema::{
    Conn, Currency, Sku, UnitPrice,
    catalogue::{
        ProductStatus, slugify,
        upsert::{self, UpsertRow, group},
    },
    imports::run::RowOutcome,
};

use super::{
    csv::{Cells, Columns, FieldError},
    error::ChunkError,
    groups::{Seen, hash},
    kind::{Cause, Kind},
};

const LONGEST_NAME: usize = 200;
const LONGEST_DESCRIPTION: usize = 50_000;
const LONGEST_WORD: usize = 120;
const DEEPEST: usize = 8;
const HEAVIEST_GRAMS: i32 = 100_000_000;

/// Products and variants, brought up to date by SKU. Prices without a currency are in the shop's.
pub struct Products {
    pub currency: Currency,
}

impl Kind for Products {
    type Row = UpsertRow;

    const COLUMNS: Columns = Columns {
        required: &["sku", "name", "price"],
        optional: &[
            "currency",
            "description",
            "brand",
            "category",
            "status",
            "compare_at_price",
            "weight_grams",
            "product",
        ],
        prefix: Some("option_"),
    };

    fn parse(&self, mut cells: Cells<'_>) -> Result<UpsertRow, Vec<FieldError>> {
        let sku = cells.required("sku");
        let sku = (!sku.is_empty())
            .then(|| {
                cells.parse("sku", sku, |text| {
                    Sku::parse(text).map_err(|_| "has more than 64 characters, or control characters")
                })
            })
            .flatten();
        let name = cells.required("name");
        let name = collapse(&cells.line("name", name, LONGEST_NAME));
        let currency = match cells.text("currency").filter(|text| !text.is_empty()) {
            None => Some(self.currency),
            Some(text) => cells.parse("currency", text, |text| Currency::parse(&text.to_ascii_uppercase())),
        };
        let price = cells.required("price");
        let price = (!price.is_empty())
            .then(|| cells.parse("price", price, |text| amount(text, currency.unwrap_or(self.currency))))
            .flatten();
        let compare_at_price = cells.text("compare_at_price").map(|text| {
            let amount = |text: &str| amount(text, currency.unwrap_or(self.currency)).map(UnitPrice::amount);
            if text.is_empty() { None } else { cells.parse("compare_at_price", text, amount) }
        });
        let row = UpsertRow {
            product: product(&mut cells),
            description: description(&mut cells),
            brand: cells.text("brand").map(|text| {
                let brand = cells.line("brand", text, LONGEST_WORD);
                (!brand.is_empty()).then_some(brand)
            }),
            status: cells.text("status").filter(|text| !text.is_empty()).and_then(|text| {
                cells.parse("status", text, |text| text.to_ascii_lowercase().parse::<ProductStatus>())
            }),
            weight_grams: cells.text("weight_grams").map(|text| {
                let weight = |text: &str| whole(text, 0..=HEAVIEST_GRAMS);
                if text.is_empty() { None } else { cells.parse("weight_grams", text, weight) }
            }),
            categories: categories(&mut cells),
            options: options(&mut cells),
            compare_at_price,
            name,
            // Stand-ins: without these two the row is refused below.
            sku: match sku.clone() {
                Some(sku) => sku,
                None => return cells.finish(None),
            },
            price: match price {
                Some(price) => price,
                None => return cells.finish(None),
            },
        };
        cells.finish(Some(row))
    }

    async fn known(&self, conn: &mut Conn, rows: &[&UpsertRow]) -> QueryResult<HashMap<String, String>> {
        group::known(conn, rows).await
    }

    /// By product: its last row tells what is the product's. A SKU stays with its product, the one it has or the one that its
    /// first row asks for; what later rows ask for changes nothing and is refused.
    fn group(&self, row: &UpsertRow, known: &HashMap<String, String>, seen: &mut Seen) -> u64 {
        // The first decision counts: another import may make the product while this file is cut.
        seen.first(row.sku.as_str(), || match known.get(row.sku.as_str()) {
            Some(slug) => hash(slug),
            None => hash(&group::asked_for(row)),
        })
    }

    async fn apply(
        &self,
        conn: &mut Conn,
        rows: &[&UpsertRow],
        cause: Cause,
    ) -> Result<Vec<RowOutcome>, ChunkError> {
        let report = upsert::apply(conn, rows).await?;
        let events: Vec<ProductUpdated> = report
            .touched
            .iter()
            .map(|touched| ProductUpdated { product_id: touched.product_id, version: touched.version })
            .collect();
        emit_all(conn, &events, Some(cause.job_id)).await?;
        Ok(report.outcomes)
    }
}

/// An amount as people write it in files: digits and at most one point. Whatever needs guessing is refused.
pub(super) fn amount(text: &str, currency: Currency) -> Result<UnitPrice, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let well_formed = digits.chars().any(|c| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
        && digits.matches('.').count() <= 1;
    if !well_formed {
        return Err("is not a number such as 12.50".to_owned());
    }
    // Decimal would round what is longer than its 28 digits.
    let amount = Decimal::from_str_exact(text).map_err(|_| "has too many digits".to_owned())?;
    UnitPrice::new(amount, currency).map_err(|error| match error {
        waybill_schema::domain::money::MoneyError::Negative(_) => "is negative".to_owned(),
        waybill_schema::domain::money::MoneyError::TooManyDecimals { decimals, .. } => {
            format!("has more than {decimals} decimals")
        }
        error => error.to_string(),
    })
}

/// A whole number within bounds.
pub(super) fn whole(text: &str, bounds: std::ops::RangeInclusive<i32>) -> Result<i32, String> {
    text.parse::<i64>()
        .ok()
        .and_then(|number| i32::try_from(number).ok())
        .filter(|number| bounds.contains(number))
        .ok_or_else(|| format!("is not a whole number from {} to {}", bounds.start(), bounds.end()))
}

/// Runs of white space as one blank: what a spreadsheet's reader would see.
fn collapse(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn product(cells: &mut Cells<'_>) -> Option<String> {
    let text = cells.text("product").filter(|text| !text.is_empty())?;
    let slug = slugify(text, "");
    if slug.is_empty() {
        cells.wrong("product", text, "has no letters or digits to make a slug of");
    }
    Some(slug)
}

fn description(cells: &mut Cells<'_>) -> Option<String> {
    let text = cells.text("description")?;
    if text.chars().count() > LONGEST_DESCRIPTION {
        cells.wrong("description", text, format!("is longer than {LONGEST_DESCRIPTION} characters"));
    } else if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        cells.wrong("description", text, "contains control characters");
    }
    Some(text.to_owned())
}

/// `Home > Kitchen | Gifts`: paths separated by bars, names by arrows.
fn categories(cells: &mut Cells<'_>) -> Option<Vec<Vec<String>>> {
    let text = cells.text("category")?;
    let mut paths = Vec::new();
    for path in text.split('|').map(str::trim).filter(|path| !path.is_empty()) {
        let names: Vec<&str> = path.split('>').map(str::trim).collect();
        if names.iter().any(|name| name.is_empty()) {
            cells.wrong("category", text, "has a category without a name");
        } else if names.len() > DEEPEST {
            cells.wrong("category", text, format!("is more than {DEEPEST} levels deep"));
        }
        paths.push(
            names
                .into_iter()
                .map(|name| cells.line("category", name, LONGEST_WORD))
                .map(|n| collapse(&n))
                .collect(),
        );
    }
    Some(paths)
}

/// Values of the columns `option_<name>`; a blank cell is an option that the variant does not have.
fn options(cells: &mut Cells<'_>) -> Option<Vec<(String, String)>> {
    let columns: Vec<String> = cells.columns_with_prefix("option_").map(str::to_owned).collect();
    if columns.is_empty() {
        return None;
    }
    let mut options = Vec::new();
    for column in columns {
        let text = cells.text(&column).unwrap_or_default();
        let value = collapse(&cells.line(&column, text, LONGEST_WORD));
        if !value.is_empty() {
            options.push((column["option_".len()..].to_owned(), value));
        }
    }
    Some(options)
}
