//! Product files.
#![allow(clippy::unwrap_used, clippy::panic)]

use waybill_schema::imports::{ImportKind, ImportStatus};

use super::{Setup, counts};

#[tokio::test]
async fn products_are_created_then_unchanged_then_updated() {
    let setup = Setup::new(500).await;
    let file = "sku,name,price,category,product,option_colour\n\
                85123A,WHITE  HANGING HEART,2.55,Home > Light,,\n\
                CUP-R,Cup,1.25,Home > Kitchen | Gifts,cup,Red\n\
                CUP-B,Cup,1.2525,home > kitchen|gifts,cup,Blue\n\
                22423,WHITE HANGING HEART,12.75,Home,,\n";
    let import = setup.import(ImportKind::Products, file).await;
    assert_eq!((import.status, counts(&import)), (ImportStatus::Completed, [4, 4, 0, 0, 0]));
    let db = &setup.db;
    assert_eq!(
        db.text("select string_agg(slug || ':' || name || ':' || status, ', ' order by slug) from products")
            .await,
        "cup:Cup:active, white-hanging-heart:WHITE HANGING HEART:active, \
         white-hanging-heart-22423:WHITE HANGING HEART:active"
    );
    assert_eq!(
        db.text("select string_agg(concat_ws(':', sku, price, currency, title, option_values, position), ', ' order by sku)
                 from variants where sku like 'CUP%'").await,
        r#"CUP-B:1.2525:GBP:Blue:{"colour": "Blue"}:1, CUP-R:1.2500:GBP:Red:{"colour": "Red"}:0"#
    );
    assert_eq!(
        db.text("select concat_ws('-', price_min, price_max) from products where slug = 'cup'").await,
        "1.2500-1.2525"
    );
    assert_eq!(
        db.text("select string_agg(slug, ' ' order by slug) from categories").await,
        "gifts home kitchen light"
    );
    assert_eq!(
        db.text("select string_agg(c.slug, ' ' order by c.slug) from product_categories pc join categories c on c.id = pc.category_id
                 join products p on p.id = pc.product_id where p.slug = 'cup'").await,
        "gifts kitchen"
    );
    assert_eq!(db.text("select string_agg(name || position, ' ') from product_options").await, "colour0");
    assert_eq!(db.text("select count(*) from outbox where topic = 'product.updated'").await, "3");

    let again = setup.import(ImportKind::Products, file).await;
    assert_eq!(counts(&again), [4, 0, 0, 4, 0]);
    assert_eq!(db.text("select count(*) from outbox").await, "3", "what did not change is not announced");

    let changed = "sku,name,price,compare_at_price,brand,description\n\
                   85123A,WHITE HANGING HEART,2.55,,Fjord,\n\
                   CUP-R,Cup,1.10,1.25,,A cup\n\
                   22423,WHITE HANGING HEART,12.75,,,\n";
    let import = setup.import(ImportKind::Products, changed).await;
    assert_eq!(counts(&import), [3, 0, 2, 1, 0]);
    assert_eq!(db.text("select count(*) from outbox").await, "5");
    assert_eq!(
        db.text("select concat_ws(':', price, compare_at_price, title, option_values) from variants where sku = 'CUP-R'").await,
        r#"1.1000:1.2500:Red:{"colour": "Red"}"#,
        "columns that a file does not have stay"
    );
    let cleared =
        "sku,name,price,compare_at_price,brand\n85123A,WHITE HANGING HEART,2.55,,\nCUP-R,Cup,1.10,,\n";
    assert_eq!(counts(&setup.import(ImportKind::Products, cleared).await), [2, 0, 2, 0, 0]);
    assert_eq!(db.text("select count(brand) from products").await, "0", "blank cells clear");
    assert_eq!(db.text("select count(compare_at_price) from variants").await, "0");
}

#[tokio::test]
async fn the_last_row_of_a_sku_counts_and_a_sku_stays_with_its_product() {
    let setup = Setup::new(4).await;
    let file = "sku;name;price;product\nA;First;1;one\nA;Second;2;one\nB;Other;1;two\nA;Third;3;one\nA;Fourth;4;two\nA;Fourth;4;one\n";
    let import = setup.import(ImportKind::Products, file).await;
    assert_eq!(counts(&import), [6, 2, 3, 0, 1]);
    assert_eq!(setup.errors(&import).await, ["6 product \"two\" this SKU belongs to product one"]);
    assert_eq!(
        setup.db.text("select string_agg(concat_ws(':', p.slug, p.name, v.price), ' ' order by slug) from products p join variants v on v.product_id = p.id").await,
        "one:Fourth:4.0000 two:Other:1.0000"
    );
}
