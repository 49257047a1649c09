use serde_json::{Value, json};

use crate::support::{App, text};

async fn category(app: &App, admin: &str, name: &str, parent: Option<&Value>) -> Value {
    let body = json!({ "name": name, "parent_id": parent.map(|parent| &parent["id"]) });
    app.post("/v1/admin/categories", body).token(admin).send().await.expect(201)
}

#[tokio::test]
async fn categories_form_a_tree_without_cycles() {
    let app = App::start().await;
    let admin = app.admin().await;
    let home = category(&app, &admin, "Home & Garden", None).await;
    assert_eq!(home["slug"], "home-garden");
    let lamps = category(&app, &admin, "Lamps", Some(&home)).await;
    let desk = category(&app, &admin, "Desk lamps", Some(&lamps)).await;

    let tree = app.get("/v1/categories").send().await.expect(200);
    assert_eq!(tree["data"][0]["children"][0]["children"][0]["slug"], "desk-lamps");
    let one = app.get("/v1/categories/desk-lamps").send().await.expect(200);
    let path: Vec<&str> = one["path"].as_array().unwrap().iter().map(|node| text(node, "slug")).collect();
    assert_eq!(path, ["home-garden", "lamps", "desk-lamps"]);

    let move_to = |what: &Value, parent: Value| {
        let path = format!("/v1/admin/categories/{}", text(what, "id"));
        app.patch(&path, json!({ "parent_id": parent })).token(&admin).send()
    };
    let cycle = [("parent_id".to_owned(), "cycle".to_owned())];
    assert_eq!(move_to(&home, desk["id"].clone()).await.faults(), cycle);
    assert_eq!(move_to(&home, home["id"].clone()).await.faults(), cycle);
    let nowhere = json!("01900000-0000-7000-8000-000000000000");
    assert_eq!(move_to(&desk, nowhere).await.faults(), [("parent_id".to_owned(), "not_found".to_owned())]);
    move_to(&desk, Value::Null).await.expect(200);
    let one = app.get("/v1/categories/desk-lamps").send().await.expect(200);
    assert_eq!(one["path"].as_array().unwrap().len(), 1);

    let taken = json!({ "name": "Other", "slug": "lamps" });
    app.post("/v1/admin/categories", taken).token(&admin).send().await.problem(409, "conflict");
    let hidden = format!("/v1/admin/categories/{}", text(&home, "id"));
    app.patch(&hidden, json!({ "active": false })).token(&admin).send().await.expect(200);
    app.get("/v1/categories/lamps").send().await.problem(404, "not_found");
}

#[tokio::test]
async fn a_category_in_use_is_not_deleted() {
    let app = App::start().await;
    let admin = app.admin().await;
    let parent = category(&app, &admin, "Parent", None).await;
    let child = category(&app, &admin, "Child", Some(&parent)).await;
    let product = app.product(&admin, "Thing", "T-1", "1.00").await;
    let product_path = format!("/v1/admin/products/{}", text(&product, "id"));
    let put = json!({ "category_ids": [child["id"]] });
    app.patch(&product_path, put).token(&admin).send().await.expect(200);

    let delete =
        |what: &Value| app.delete(&format!("/v1/admin/categories/{}", text(what, "id"))).token(&admin).send();
    assert_eq!(delete(&parent).await.problem(409, "conflict")["children"], 1);
    assert_eq!(delete(&child).await.problem(409, "conflict")["products"], 1);
    app.patch(&product_path, json!({ "category_ids": [] })).token(&admin).send().await.expect(200);
    delete(&child).await.expect(204);
    delete(&parent).await.expect(204);
    delete(&parent).await.problem(404, "not_found");
}

/// Walks a list to its end; answers one field of every row.
async fn walk(app: &App, path: &str, field: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let page = app.get(&format!("{path}{separator}limit=2&cursor={cursor}")).send().await.expect(200);
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= 2);
        found.extend(data.iter().map(|row| text(row, field).to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return found,
        }
        assert!(found.len() < 100, "the walk does not end");
    }
}

#[tokio::test]
async fn pages_in_every_order_hold_each_product_once() {
    let app = App::start().await;
    let admin = app.admin().await;
    for (name, sku, price) in [
        ("Cup", "C", "2.50"),
        ("Apron", "A", "9.99"),
        ("Bowl", "B", "2.50"),
        ("Dish", "D", "0.0525"),
        ("Cup", "C2", "30"),
    ] {
        app.product(&admin, name, sku, price).await;
    }
    let draft = json!({ "name": "Draft", "variants": [{ "sku": "X", "price": { "amount": "1", "currency": "GBP" } }] });
    app.post("/v1/admin/products", draft).token(&admin).send().await.expect(201);

    assert_eq!(walk(&app, "/v1/products", "slug").await, ["cup-2", "dish", "bowl", "apron", "cup"]);
    assert_eq!(walk(&app, "/v1/products?sort=name", "name").await, ["Apron", "Bowl", "Cup", "Cup", "Dish"]);
    assert_eq!(walk(&app, "/v1/products?sort=-name", "name").await, ["Dish", "Cup", "Cup", "Bowl", "Apron"]);
    assert_eq!(
        walk(&app, "/v1/products?sort=price", "slug").await,
        ["dish", "cup", "bowl", "apron", "cup-2"]
    );
    assert_eq!(
        walk(&app, "/v1/products?sort=-price", "slug").await,
        ["cup-2", "apron", "bowl", "cup", "dish"]
    );

    let page = app.get("/v1/products?sort=price&limit=1").send().await.expect(200);
    assert_eq!(page["data"][0]["price_min"], "0.0525");
    assert_eq!(page["data"][0]["currency"], "GBP");
    let cursor = text(&page, "next_cursor");
    app.get(&format!("/v1/products?sort=name&cursor={cursor}")).send().await.problem(422, "validation");
    app.get("/v1/products?sort=random").send().await.problem(422, "validation");
    app.get("/v1/products?cursor=nonsense").send().await.problem(422, "validation");
    app.get("/v1/products?limit=101").send().await.problem(422, "validation");
}

#[tokio::test]
async fn filters_narrow_a_listing() {
    let app = App::start().await;
    let admin = app.admin().await;
    let home = category(&app, &admin, "Home", None).await;
    let lamps = category(&app, &admin, "Lamps", Some(&home)).await;
    for (name, sku, price, brand, categories) in [
        ("Lamp", "L", "20.00", Some("Lux"), vec![&lamps["id"]]),
        ("Rug", "R", "50.00", None, vec![&home["id"]]),
        ("Bolt", "B", "0.10", Some("lux"), vec![]),
    ] {
        let body = json!({
            "name": name, "status": "active", "brand": brand, "category_ids": categories,
            "variants": [{ "sku": sku, "price": { "amount": price, "currency": "GBP" } }],
        });
        app.post("/v1/admin/products", body).token(&admin).send().await.expect(201);
    }
    app.stock(&admin, "R", 1).await;

    let names = |query: &str| {
        let path = format!("/v1/products?sort=name&{query}");
        let app = &app;
        async move { walk(app, &path, "name").await }
    };
    assert_eq!(names("category=home").await, ["Lamp", "Rug"]);
    assert_eq!(names("category=lamps").await, ["Lamp"]);
    assert_eq!(names("category=unknown").await, [""; 0]);
    assert_eq!(names("brand=LUX").await, ["Bolt", "Lamp"]);
    assert_eq!(names("price_min=20").await, ["Lamp", "Rug"]);
    assert_eq!(names("price_max=20&price_min=0.11").await, ["Lamp"]);
    assert_eq!(names("in_stock=true").await, ["Rug"]);
    assert_eq!(names("in_stock=true&brand=lux&category=home&price_max=99").await, [""; 0]);
    app.get("/v1/products?price_min=cheap").send().await.problem(422, "validation");
    app.get("/v1/products?price_min=5&price_max=1").send().await.problem(422, "validation");
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let app = App::start().await;
    let admin = app.admin().await;
    let product = app.product(&admin, "Thing", "T-1", "1.00").await;
    for path in ["/v1/products", "/v1/products/thing", "/v1/categories"] {
        let first = app.get(path).send().await;
        let etag = first.header("etag").unwrap().to_owned();
        assert!(first.header("cache-control").unwrap().contains("max-age"));
        let again = app.get(path).header("if-none-match", &etag).send().await;
        assert_eq!(again.status.as_u16(), 304, "{path}");
        assert_eq!(again.body, Value::Null);
    }
    let etag = app.get("/v1/products/thing").send().await.header("etag").unwrap().to_owned();
    app.stock(&admin, "T-1", 5).await;
    let changed = app.get("/v1/products/thing").header("if-none-match", &etag).send().await.expect(200);
    assert_eq!(changed["variants"][0]["available"], 5);
    let by_id = format!("/v1/products/{}", text(&product, "id"));
    assert_eq!(app.get(&by_id).send().await.expect(200)["slug"], "thing");
}
