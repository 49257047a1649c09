//! Changes of products that must not undo what somebody else has changed meanwhile.

use serde_json::{Value, json};

use crate::support::{Answer, App, text};

fn tag(answer: &Answer) -> String {
    answer.header("etag").unwrap_or_else(|| panic!("no tag: {answer:?}")).to_owned()
}

struct Shop {
    app: App,
    admin: String,
    product: String,
    variant: String,
}

impl Shop {
    async fn new() -> Self {
        let app = App::start().await;
        let admin = app.admin().await;
        let product = app.product(&admin, "Thing", "T-1", "5.00").await;
        let variant = format!("/v1/admin/variants/{}", text(&product["variants"][0], "id"));
        Self { product: format!("/v1/admin/products/{}", text(&product, "id")), variant, admin, app }
    }

    async fn read(&self, path: &str) -> Answer {
        self.app.get(path).token(&self.admin).send().await
    }

    async fn patch(&self, path: &str, tag: &str, body: Value) -> Answer {
        self.app.patch(path, body).token(&self.admin).header("if-match", tag).send().await
    }
}

#[tokio::test]
async fn a_change_of_what_somebody_else_has_changed_is_refused() {
    let shop = Shop::new().await;
    let seen = shop.read(&shop.product).await;
    let (seen, version) = (tag(&seen), seen.body["version"].as_i64().unwrap());
    assert_eq!(seen, format!("\"v{version}\""));
    assert_eq!(tag(&shop.read(&shop.variant).await), seen, "a variant is a part of its product");

    let first = shop.patch(&shop.product, &seen, json!({ "name": "First" })).await;
    let after = tag(&first);
    assert_eq!(first.expect(200)["version"], version + 1);
    let late =
        shop.patch(&shop.product, &seen, json!({ "name": "Late" })).await.problem(412, "precondition_failed");
    assert_eq!(text(&late, "etag"), after, "it says what there is now");
    // One of several will do; a weak one, or one without its quotes, will not.
    let either = format!("\"v0\", {after}");
    let changed = shop.patch(&shop.product, &either, json!({ "brand": "B" })).await;
    let after = tag(&changed);
    changed.expect(200);
    for wrong in [format!("W/{after}"), after.replace('"', ""), "\"v99\"".to_owned()] {
        shop.patch(&shop.product, &wrong, json!({ "name": "Wrong" }))
            .await
            .problem(412, "precondition_failed");
    }
    assert_eq!(text(&shop.read(&shop.product).await.expect(200), "name"), "First");

    // The prices of variants are the product's, too.
    let price = |amount: &str| json!({ "price": { "amount": amount, "currency": "GBP" } });
    let changed = shop.patch(&shop.variant, &after, price("6.00")).await;
    let newest = tag(&changed);
    assert_eq!(changed.expect(200)["price"]["amount"], "6.00");
    shop.patch(&shop.variant, &after, price("1.00")).await.problem(412, "precondition_failed");
    shop.patch(&shop.product, &after, json!({ "name": "Late" })).await.problem(412, "precondition_failed");
    let add = |tag: &str| {
        let body = json!({ "sku": "T-2", "price": { "amount": "7", "currency": "GBP" } });
        let call = shop.app.post(&format!("{}/variants", shop.product), body).token(&shop.admin);
        call.header("if-match", tag).send()
    };
    add(&after).await.problem(412, "precondition_failed");
    let added = add(&newest).await;
    let location = added.header("location").unwrap().to_owned();
    assert_eq!(shop.read(&location).await.expect(200), added.expect(201));
}

#[tokio::test]
async fn what_was_changed_meanwhile_is_not_deleted_unseen() {
    let shop = Shop::new().await;
    let seen = tag(&shop.read(&shop.product).await);
    shop.patch(&shop.product, "*", json!({ "name": "Now" })).await.expect(200);
    for path in [&shop.variant, &shop.product] {
        let delete = shop.app.delete(path).token(&shop.admin).header("if-match", &seen).send().await;
        delete.problem(412, "precondition_failed");
    }
    let newest = tag(&shop.read(&shop.variant).await);
    shop.app.delete(&shop.variant).token(&shop.admin).header("if-match", &newest).send().await.expect(204);
    shop.read(&shop.variant).await.problem(404, "not_found");
    let newest = tag(&shop.read(&shop.product).await);
    shop.app.delete(&shop.product).token(&shop.admin).header("if-match", &newest).send().await.expect(204);
    // Nothing is there to match.
    shop.patch(&shop.product, "*", json!({ "name": "Gone" })).await.problem(404, "not_found");
}

#[tokio::test]
async fn who_names_no_tag_changes_what_there_is_and_a_sale_is_no_change() {
    let shop = Shop::new().await;
    let seen = tag(&shop.read(&shop.product).await);
    shop.app.stock(&shop.admin, "T-1", 5).await;
    let changed = shop.patch(&shop.product, &seen, json!({ "name": "Still mine" })).await;
    changed.expect(200);
    let call = shop.app.patch(&shop.product, json!({ "name": "Whatever" })).token(&shop.admin);
    call.send().await.expect(200);
}

#[tokio::test]
async fn of_two_at_once_one_is_refused() {
    let shop = Shop::new().await;
    let seen = tag(&shop.read(&shop.product).await);
    let one = shop.patch(&shop.product, &seen, json!({ "name": "One" }));
    let two = shop.patch(&shop.product, &seen, json!({ "brand": "Two" }));
    let (one, two) = tokio::join!(one, two);
    let mut codes = [one.status.as_u16(), two.status.as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [200, 412]);
    let now = shop.read(&shop.product).await.expect(200);
    assert_eq!(text(&now, "name") == "One", now["brand"].is_null(), "{now:#}");
}
