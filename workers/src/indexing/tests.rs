#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use chrono::Utc;
use serde_json::json;
use uuid::Uuid;
use waybill_jobs::{EventEnvelope, Pipeline};
use waybill_schema::{
    new_id,
    search::index::{self, Over},
};

use super::{Indexing, PostgresEngine};
use crate::testing::TestDatabase;

struct Setup {
    db: TestDatabase,
    pipeline: Indexing,
    product: Uuid,
}

impl Setup {
    /// A lamp in home > light, with two variants, of which one is in stock.
    async fn new() -> Self {
        let db = TestDatabase::new().await;
        let product = new_id();
        db.execute(&format!(
            "insert into categories (id, parent_id, slug, name) values
                 ('00000000-0000-7000-8000-0000000000c1', null, 'home', 'Home'),
                 ('00000000-0000-7000-8000-0000000000c2', '00000000-0000-7000-8000-0000000000c1', 'light', 'Light'),
                 ('00000000-0000-7000-8000-0000000000c3', null, 'gifts', 'Gifts');
             insert into products (id, slug, name, description, brand, status, price_min, price_max, version) values
                 ('{product}', 'lamp', 'Reading lamp', 'Bright bulbs', 'Fjord', 'active', 2.95, 7.5, 3);
             insert into product_categories values
                 ('{product}', '00000000-0000-7000-8000-0000000000c2'), ('{product}', '00000000-0000-7000-8000-0000000000c3');
             insert into variants (id, product_id, sku, price, currency, active) values
                 ('00000000-0000-7000-8000-0000000000a1', '{product}', '85123A', 2.95, 'GBP', true),
                 ('00000000-0000-7000-8000-0000000000a2', '{product}', 'LAMP-XL', 7.5, 'GBP', true),
                 ('00000000-0000-7000-8000-0000000000a3', '{product}', 'OLD', 1, 'GBP', false);
             insert into stock_levels (variant_id, location_id, on_hand, reserved) values
                 ('00000000-0000-7000-8000-0000000000a1', '00000000-0000-7000-8000-000000000001', 5, 4),
                 ('00000000-0000-7000-8000-0000000000a3', '00000000-0000-7000-8000-000000000001', 9, 0);"
        ))
        .await;
        let pipeline = Indexing::new(Arc::new(PostgresEngine::new(db.pool().clone())));
        Self { db, pipeline, product }
    }

    async fn index(&self, topics: &[&str]) {
        let events: Vec<EventEnvelope> = topics
            .iter()
            .map(|topic| EventEnvelope {
                id: new_id(),
                topic: (*topic).to_owned(),
                version: 1,
                aggregate: "product".to_owned(),
                aggregate_id: self.product,
                created_at: Utc::now(),
                correlation_id: None,
                causation_id: None,
                traceparent: None,
                payload: json!({}),
            })
            .collect();
        self.pipeline.prepare(&events, self.db.pool()).await.unwrap();
    }

    async fn finds(&self, config: &str, query: &str) -> bool {
        let text = format!(
            "select count(*) from product_search where document @@ websearch_to_tsquery('{config}', '{query}')"
        );
        self.db.text(&text).await == "1"
    }
}

#[tokio::test]
async fn a_document_holds_what_is_searched_for() {
    let setup = Setup::new().await;
    setup.index(&["product.updated", "product.updated", "stock.replenished"]).await;
    let db = &setup.db;
    assert_eq!(db.text("select concat_ws('|', version, status, brand, price_min, price_max, in_stock) from product_search").await,
        "3|active|Fjord|2.9500|7.5000|t");
    assert_eq!(db.text("select words from product_search").await, "Reading lamp 85123A LAMP-XL Fjord");
    assert_eq!(
        db.text("select cardinality(category_ids) from product_search").await,
        "3",
        "with the ancestor"
    );
    for (config, query) in [
        ("english", "lamps"),
        ("english", "bulb"),
        ("english", "fjord"),
        ("simple", "85123a"),
        ("simple", "lamp-xl"),
    ] {
        assert!(setup.finds(config, query).await, "{query}");
    }
    assert!(!setup.finds("simple", "old").await, "an inactive variant's SKU");
    let weights = "select ts_filter(document, '{a}')::text from product_search";
    let a = db.text(weights).await;
    assert!(a.contains("lamp") && a.contains("85123a") && !a.contains("fjord") && !a.contains("bulb"), "{a}");
}

#[tokio::test]
async fn an_older_state_never_overwrites_a_newer_one() {
    let setup = Setup::new().await;
    let db = &setup.db;
    let old = index::documents(&mut *db.conn().await, &[setup.product]).await.unwrap();
    db.execute("update stock_levels set reserved = on_hand, version = version + 1").await;
    setup.index(&["stock.depleted"]).await;
    assert_eq!(db.text("select in_stock from product_search").await, "false");
    assert_eq!(index::upsert(&mut *db.conn().await, &old, Over::Same).await.unwrap(), 0);
    assert_eq!(db.text("select in_stock from product_search").await, "false");

    db.execute("update products set name = 'Table lamp', version = 4; update stock_levels set version = 1")
        .await;
    setup.index(&["product.updated"]).await;
    assert_eq!(
        db.text("select name from product_search").await,
        "Table lamp",
        "a higher version wins over stock"
    );
}

#[tokio::test]
async fn a_product_that_is_gone_leaves_the_index() {
    let setup = Setup::new().await;
    setup.index(&["product.updated"]).await;
    setup.db.execute("delete from stock_levels; delete from products").await;
    setup.index(&["product.updated"]).await;
    assert_eq!(setup.db.text("select count(*) from product_search").await, "0");
}
