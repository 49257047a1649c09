//! What the tests of carts, checkouts and orders share.

use serde_json::{Value, json};

use crate::support::{Answer, App, text};

impl App {
    /// Writes products on sale with stock, by SQL: `(sku, price, on_hand)`.
    pub async fn goods(&self, goods: &[(&str, &str, i32)]) {
        for (sku, price, on_hand) in goods {
            self.db
                .execute(&format!(
                    "with p as (insert into products (id, slug, name, status)
                                values (gen_random_uuid(), lower('{sku}'), 'Product {sku}', 'active') returning id),
                          v as (insert into variants (id, product_id, sku, price, currency)
                                select gen_random_uuid(), id, '{sku}', {price}, 'GBP' from p returning id)
                     insert into stock_levels (variant_id, location_id, on_hand)
                     select id, '00000000-0000-7000-8000-000000000001', {on_hand} from v"
                ))
                .await;
        }
    }

    /// An API key with these scopes.
    pub async fn key(&self, scopes: &[&str]) -> String {
        let admin = self.admin().await;
        let body = json!({ "name": "test", "scopes": scopes });
        let made = self.post("/v1/admin/api-keys", body).token(&admin).send().await.expect(201);
        text(&made, "key").to_owned()
    }

    /// A customer's id and access token.
    pub async fn customer(&self, email: &str) -> (String, String) {
        let account = self.register(email).await;
        (text(&account["user"], "id").to_owned(), text(&account, "access_token").to_owned())
    }

    /// A guest's cart with lines: its id and token.
    pub async fn cart(&self, lines: &[(&str, i64)]) -> (String, String) {
        let cart = self.post("/v1/carts", json!({})).send().await.expect(201);
        let (id, token) = (text(&cart, "id").to_owned(), text(&cart, "token").to_owned());
        for (sku, quantity) in lines {
            let body = json!({ "sku": sku, "quantity": quantity });
            let add = self.post(&format!("/v1/carts/{id}/lines"), body).header("x-cart-token", &token);
            add.send().await.expect(200);
        }
        (id, token)
    }

    /// A guest's order of some lines.
    pub async fn guest_order(&self, lines: &[(&str, i64)]) -> Value {
        let lines: Vec<Value> =
            lines.iter().map(|(sku, quantity)| json!({ "sku": sku, "quantity": quantity })).collect();
        self.checkout(json!({ "lines": lines, "email": "guest@example.com" })).await.expect(202)
    }

    /// A checkout by nobody in particular.
    pub async fn checkout(&self, what: Value) -> Answer {
        self.post("/v1/checkout", checkout(what)).send().await
    }

    /// Moves an order as the saga would.
    pub async fn move_order(&self, id: &str, step: &str, status: &str) {
        self.db
            .execute(&format!(
                "update orders set step = '{step}', status = '{status}', version = version + 1, updated_at = now(),
                        confirmed_at = case when '{status}' = 'confirmed' then now() end
                 where id = '{id}'"
            ))
            .await;
    }
}

/// The body of a checkout: `what`, an address and a means of payment.
pub fn checkout(what: Value) -> Value {
    let mut body = json!({
        "shipping_address": { "name": "A B", "line1": "1 Road", "city": "Town", "country": "gb" },
        "payment": { "token": "tok_ok" },
    });
    for (name, value) in what.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}
