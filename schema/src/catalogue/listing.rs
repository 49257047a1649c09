//! Pages of products, by indexes.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{Mutex, OnceLock, PoisonError},
};

use chrono::{DateTime, Utc};
use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, BigInt, Bool, Nullable, Numeric, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ProductStatus;
use crate::{Conn, sql};

crate::text_enum! {
    /// The order of a listing.
    pub enum Sort {
        /// The newest first.
        Newest = "newest",
        /// By name.
        Name = "name",
        /// By name, backwards.
        NameDesc = "-name",
        /// The cheapest first; without what has no price.
        Price = "price",
        /// The dearest first; without what has no price.
        PriceDesc = "-price",
    }
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In one of these categories.
    pub categories: Option<Vec<Uuid>>,
    /// Of this brand, whatever its case.
    pub brand: Option<String>,
    /// Some variant costs at least this.
    pub price_min: Option<Decimal>,
    /// Some variant costs at most this.
    pub price_max: Option<Decimal>,
    /// Something can be bought now.
    pub in_stock: bool,
}

/// Where a page starts: after the product of this sort key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "s", content = "k")]
pub enum Position {
    /// Of [`Sort::Newest`].
    #[serde(rename = "c")]
    Newest(DateTime<Utc>, Uuid),
    /// Of the sorts by name.
    #[serde(rename = "n")]
    Name(String, Uuid),
    /// Of the sorts by price.
    #[serde(rename = "p")]
    Price(Decimal, Uuid),
}

impl Position {
    /// Whether it is one of this order.
    pub fn fits(&self, sort: Sort) -> bool {
        match self {
            Self::Newest(..) => sort == Sort::Newest,
            Self::Name(..) => matches!(sort, Sort::Name | Sort::NameDesc),
            Self::Price(..) => matches!(sort, Sort::Price | Sort::PriceDesc),
        }
    }
}

/// A product in a list.
#[derive(Debug, Clone, QueryableByName)]
pub struct ListedProduct {
    /// Id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Unique name in URLs.
    #[diesel(sql_type = Text)]
    pub slug: String,
    /// Name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Brand.
    #[diesel(sql_type = Nullable<Text>)]
    pub brand: Option<String>,
    /// Status.
    #[diesel(sql_type = Text)]
    pub status: ProductStatus,
    /// Whether the shop shows it first.
    #[diesel(sql_type = Bool)]
    pub featured: bool,
    /// The cheapest variant's price.
    #[diesel(sql_type = Nullable<Numeric>)]
    pub price_min: Option<Decimal>,
    /// The dearest variant's price.
    #[diesel(sql_type = Nullable<Numeric>)]
    pub price_max: Option<Decimal>,
    /// Currency of both.
    #[diesel(sql_type = Nullable<Text>)]
    pub currency: Option<String>,
    /// Whether some variant can be bought now.
    #[diesel(sql_type = Bool)]
    pub in_stock: bool,
    /// Version.
    #[diesel(sql_type = BigInt)]
    pub version: i64,
    /// When it was made.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    #[diesel(sql_type = Timestamptz)]
    pub updated_at: DateTime<Utc>,
}

impl ListedProduct {
    /// Where the page after this product starts.
    pub fn position(&self, sort: Sort) -> Position {
        match sort {
            Sort::Newest => Position::Newest(self.created_at, self.id),
            Sort::Name | Sort::NameDesc => Position::Name(self.name.clone(), self.id),
            Sort::Price | Sort::PriceDesc => Position::Price(self.price_min.unwrap_or_default(), self.id),
        }
    }
}

/// Whether some active variant of product `p` can be bought now. With `limit 1` Postgres asks it for the rows of the page
/// alone; as an `exists` it chose to work it out for every product there is (600 ms for 300,000).
macro_rules! in_stock {
    () => {
        "coalesce((select true from variants v join stock_levels l on l.variant_id = v.id
                   join locations w on w.id = l.location_id and w.active
                   where v.product_id = p.id and v.active and (l.backorder or l.on_hand > l.reserved) limit 1), false)"
    };
}

macro_rules! columns {
    () => {
        concat!(
            "select p.id, p.slug, p.name, p.brand, p.status, p.featured, p.price_min, p.price_max,
             (select v.currency::text from variants v where v.product_id = p.id order by v.position limit 1) as currency, ",
            in_stock!(),
            " as in_stock, p.version, p.created_at, p.updated_at from products p "
        )
    };
}

/// Which conditions a statement has. Each shape is one text, so that Postgres plans each for itself: with all conditions in
/// one text, switched off by nulls, it could not use the index for where the page starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    sort: Sort,
    after: bool,
    categories: bool,
    brand: bool,
    price_min: bool,
    price_max: bool,
    in_stock: bool,
}

/// The statement of a shape, made once and kept for good: there are 5 * 2^6 of them at most.
fn statement(shape: Shape) -> &'static str {
    static TEXTS: OnceLock<Mutex<HashMap<Shape, &'static str>>> = OnceLock::new();
    let texts = TEXTS.get_or_init(Mutex::default);
    let mut texts = texts.lock().unwrap_or_else(PoisonError::into_inner);
    texts.entry(shape).or_insert_with(|| Box::leak(compose(shape).into_boxed_str()))
}

fn compose(shape: Shape) -> String {
    let (key, comparison, order) = match shape.sort {
        Sort::Newest => ("p.created_at, p.id", "< ($2, $1)", "p.created_at desc, p.id desc"),
        Sort::Name => ("p.name, p.id", "> ($3, $1)", "p.name, p.id"),
        Sort::NameDesc => ("p.name, p.id", "< ($3, $1)", "p.name desc, p.id desc"),
        Sort::Price => ("p.price_min, p.id", "> ($4, $1)", "p.price_min, p.id"),
        Sort::PriceDesc => ("p.price_min, p.id", "< ($4, $1)", "p.price_min desc, p.id desc"),
    };
    let mut text = String::from(columns!());
    text.push_str("where p.status = 'active'");
    if shape.after {
        let _ = write!(text, " and ({key}) {comparison}");
    }
    if matches!(shape.sort, Sort::Price | Sort::PriceDesc) {
        text.push_str(" and p.price_min is not null");
    }
    if shape.categories {
        text.push_str(
            " and exists (select 1 from product_categories c where c.product_id = p.id and c.category_id = any($5))",
        );
    }
    if shape.brand {
        text.push_str(" and lower(p.brand) = lower($6)");
    }
    if shape.price_min {
        text.push_str(" and p.price_max >= $7");
    }
    if shape.price_max {
        text.push_str(" and p.price_min <= $8");
    }
    if shape.in_stock {
        text.push_str(concat!(" and ", in_stock!()));
    }
    let _ = write!(text, " order by {order} limit $9");
    text
}

/// A page of what is on sale.
pub async fn on_sale(
    conn: &mut Conn,
    sort: Sort,
    filter: &Filter,
    after: Option<&Position>,
    limit: i64,
) -> QueryResult<Vec<ListedProduct>> {
    let shape = Shape {
        sort,
        after: after.is_some(),
        categories: filter.categories.is_some(),
        brand: filter.brand.is_some(),
        price_min: filter.price_min.is_some(),
        price_max: filter.price_max.is_some(),
        in_stock: filter.in_stock,
    };
    let (id, created_at, name, price) = match after {
        Some(Position::Newest(at, id)) => (Some(*id), Some(*at), None, None),
        Some(Position::Name(name, id)) => (Some(*id), None, Some(name.as_str()), None),
        Some(Position::Price(price, id)) => (Some(*id), None, None, Some(*price)),
        None => (None, None, None, None),
    };
    sql(statement(shape))
        .bind::<Nullable<SqlUuid>, _>(id)
        .bind::<Nullable<Timestamptz>, _>(created_at)
        .bind::<Nullable<Text>, _>(name)
        .bind::<Nullable<Numeric>, _>(price)
        .bind::<Nullable<Array<SqlUuid>>, _>(filter.categories.as_deref())
        .bind::<Nullable<Text>, _>(filter.brand.as_deref())
        .bind::<Nullable<Numeric>, _>(filter.price_min)
        .bind::<Nullable<Numeric>, _>(filter.price_max)
        .bind::<BigInt, _>(limit)
        .load(conn)
        .await
}

/// A page of all products, newest first, perhaps of one status.
pub async fn all(
    conn: &mut Conn,
    status: Option<ProductStatus>,
    before: Option<Uuid>,
    limit: i64,
) -> QueryResult<Vec<ListedProduct>> {
    sql(concat!(
        columns!(),
        "where ($1::text is null or p.status = $1) and ($2::uuid is null or p.id < $2) order by p.id desc limit $3"
    ))
    .bind::<Nullable<Text>, _>(status.map(ProductStatus::as_str))
    .bind::<Nullable<SqlUuid>, _>(before)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// Products on sale by id, in no order: what a search engine found.
pub async fn on_sale_by_ids(conn: &mut Conn, ids: &[Uuid]) -> QueryResult<Vec<ListedProduct>> {
    sql(concat!(columns!(), "where p.id = any($1) and p.status = 'active'"))
        .bind::<Array<SqlUuid>, _>(ids)
        .load(conn)
        .await
}
