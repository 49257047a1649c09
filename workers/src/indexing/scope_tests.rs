#![allow(clippy::unwrap_used, clippy::panic)]

use uuid::Uuid;
use waybill_schema::search::scope;

use crate::testing::TestDatabase;

/// Ids whose order can be read.
fn id(kind: &str, n: usize) -> Uuid {
    format!("00000000-0000-7000-8000-{kind}{n:010}").parse().unwrap()
}

/// home > light > desk and gifts, with 30 products: those with even numbers in light, every third in desk, every fifth in gifts.
async fn shop() -> TestDatabase {
    let db = TestDatabase::new().await;
    let [home, light, desk, gifts] = [1, 2, 3, 4].map(|n| id("c0", n));
    db.execute(&format!(
        "insert into categories (id, parent_id, slug, name, active) values ('{home}', null, 'home', 'Home', true),
             ('{light}', '{home}', 'light', 'Light', false), ('{desk}', '{light}', 'desk', 'Desk', true),
             ('{gifts}', null, 'gifts', 'Gifts', true)"
    ))
    .await;
    for n in 1..=30 {
        let product = id("a0", n);
        db.execute(&format!("insert into products (id, slug, name) values ('{product}', 'p-{n}', 'P')"))
            .await;
        for category in [(2, light), (3, desk), (5, gifts)].iter().filter(|(by, _)| n % by == 0).map(|c| c.1)
        {
            db.execute(&format!("insert into product_categories values ('{product}', '{category}')")).await;
        }
    }
    db
}

/// All pages of a scope.
async fn pages(db: &TestDatabase, category: Option<Uuid>, limit: i64) -> Vec<Uuid> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = scope::next(&mut *db.conn().await, category, after, limit).await.unwrap();
        assert!(page.len() <= usize::try_from(limit).unwrap());
        let Some(last) = page.last() else { return all };
        after = Some(*last);
        all.extend(page);
    }
}

#[tokio::test]
async fn a_scope_is_a_category_with_all_below_each_product_once_and_in_order() {
    type InScope = fn(usize) -> bool;
    let db = shop().await;
    let scopes: [(Option<usize>, InScope); 6] = [
        (None, |_| true),
        (Some(1), |n| n % 2 == 0 || n % 3 == 0),
        (Some(2), |n| n % 2 == 0 || n % 3 == 0),
        (Some(3), |n| n % 3 == 0),
        (Some(4), |n| n % 5 == 0),
        (Some(9), |_| false),
    ];
    for (category, within) in scopes {
        let expected: Vec<Uuid> = (1..=30).filter(|n| within(*n)).map(|n| id("a0", n)).collect();
        let category = category.map(|n| id("c0", n));
        for limit in [1, 4, 100] {
            assert_eq!(pages(&db, category, limit).await, expected, "{category:?} by {limit}");
        }
        let count = scope::count(&mut *db.conn().await, category).await.unwrap();
        assert_eq!(count, i64::try_from(expected.len()).unwrap(), "{category:?}");
    }
}
