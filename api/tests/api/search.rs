use serde_json::Value;

use crate::support::{App, text};

/// Writes the index as the indexing pipeline does.
async fn index(app: &App) {
    app.db
        .execute(
            "insert into product_search (product_id, version, name, brand, status, category_ids, price_min, price_max,
                                         in_stock, words, document, created_at)
             select p.id, p.version, p.name, p.brand, p.status, '{}', p.price_min, p.price_max, false,
                    p.name || ' ' || v.sku, to_tsvector('english', p.name || ' ' || v.sku), p.created_at
             from products p join variants v on v.product_id = p.id",
        )
        .await;
}

async fn shop() -> App {
    let app = App::start().await;
    let admin = app.admin().await;
    for (name, sku, price) in [
        ("White hanging heart t-light holder", "85123A", "2.55"),
        ("White metal lantern", "71053", "3.39"),
        ("Red woolly hottie white heart", "84029E", "3.39"),
        ("Glass star frosted t-light holder", "21730", "4.25"),
    ] {
        app.product(&admin, name, sku, price).await;
    }
    index(&app).await;
    app
}

fn names(found: &Value) -> Vec<&str> {
    let mut names: Vec<&str> =
        found["data"].as_array().unwrap().iter().map(|row| text(row, "name")).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn words_signs_and_typing_errors_are_understood() {
    let app = shop().await;
    let find = |q: &str| {
        let path = format!("/v1/search?q={q}");
        let app = &app;
        async move { app.get(&path).send().await.expect(200) }
    };
    let found = find("white%20heart").await;
    assert_eq!(found["engine"], "postgres");
    assert_eq!(names(&found), ["Red woolly hottie white heart", "White hanging heart t-light holder"]);
    assert_eq!(names(&find("lanterns").await), ["White metal lantern"]);
    assert_eq!(names(&find("white%20-heart").await), ["White metal lantern"]);
    assert_eq!(names(&find("71053").await), ["White metal lantern"]);
    // Typing errors.
    assert_eq!(names(&find("lantren").await), ["White metal lantern"]);
    assert_eq!(names(&find("wooly%20hotie").await), ["Red woolly hottie white heart"]);
    assert_eq!(names(&find("zzzzzz").await), [""; 0]);
    // What would be an error in SQL's own search syntax.
    for odd in ["%27", "%26%7C%21", "%28%28", "a%20or%20or", "%22open", "%3A%2A", "%25_%5C"] {
        find(odd).await;
    }
    app.get("/v1/search?q=%20").send().await.problem(422, "validation");
    app.get("/v1/search").send().await.problem(422, "validation");
    app.get("/v1/search?q=a&cursor=nonsense").send().await.problem(422, "validation");
}

#[tokio::test]
async fn pages_and_filters_work_for_both_ways_of_finding() {
    let app = shop().await;
    for (q, expected) in [("light%20holder", 2), ("ligth%20holdre", 2)] {
        let mut found: Vec<String> = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/search?q={q}&limit=1&cursor={cursor}");
            let page = app.get(&path).send().await.expect(200);
            found.extend(names(&page).into_iter().map(str::to_owned));
            match page["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
            assert!(found.len() < 10, "the walk does not end");
        }
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), expected, "{q}: {found:?}");
    }
    let cheap = app.get("/v1/search?q=holder&price_max=3").send().await.expect(200);
    assert_eq!(names(&cheap), ["White hanging heart t-light holder"]);
    let none = app.get("/v1/search?q=holder&in_stock=true").send().await.expect(200);
    assert_eq!(names(&none), [""; 0]);
}
