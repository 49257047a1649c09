use serde_json::json;

use crate::support::{App, text};

#[tokio::test]
async fn a_key_may_do_what_its_scopes_say_until_it_is_revoked() {
    let app = App::start().await;
    let admin = app.admin().await;
    let body = json!({ "name": "warehouse", "scopes": ["stock:write", "stock:write"] });
    let made = app.post("/v1/admin/api-keys", body).token(&admin).send().await.expect(201);
    let key = text(&made, "key");
    assert!(key.starts_with("wbk_") && key.starts_with(text(&made, "prefix")));
    assert_eq!(made["scopes"], json!(["stock:write"]));

    app.get("/v1/admin/stock").key(key).send().await.expect(200);
    app.get("/v1/admin/products").key(key).send().await.problem(403, "forbidden");
    app.get("/v1/me").key(key).send().await.problem(403, "forbidden");
    app.get("/v1/admin/stock").key("wbk_guess").send().await.problem(401, "unauthenticated");

    let list = app.get("/v1/admin/api-keys").token(&admin).send().await.expect(200);
    assert_eq!(list["data"][0]["id"], made["id"]);
    assert!(list["data"][0].get("key").is_none());
    assert!(list["data"][0]["last_used_at"].is_string());

    let path = format!("/v1/admin/api-keys/{}", text(&made, "id"));
    app.delete(&path).token(&admin).send().await.expect(204);
    app.get("/v1/admin/stock").key(key).send().await.problem(401, "unauthenticated");
    app.delete(&path).token(&admin).send().await.problem(404, "not_found");
    // The key is nowhere in the database.
    let stored = format!("select count(*) as n from api_keys k where k::text like '%{key}%'");
    assert_eq!(app.db.count(&stored).await, 0);
}

#[tokio::test]
async fn keys_are_made_by_administrators_in_person() {
    let app = App::start().await;
    let admin = app.admin().await;
    let customer = app.register("c@example.com").await;
    let body = json!({ "name": "x", "scopes": ["catalogue:write"] });
    app.post("/v1/admin/api-keys", body.clone()).send().await.problem(401, "unauthenticated");
    let customer = text(&customer, "access_token");
    app.post("/v1/admin/api-keys", body.clone()).token(customer).send().await.problem(403, "forbidden");
    let key = app.post("/v1/admin/api-keys", body.clone()).token(&admin).send().await.expect(201);
    app.post("/v1/admin/api-keys", body).key(text(&key, "key")).send().await.problem(403, "forbidden");

    let bad = json!({ "name": "", "scopes": ["everything", "stock:write"] });
    let faults = app.post("/v1/admin/api-keys", bad).token(&admin).send().await.faults();
    let expected = [("name", "required"), ("scopes[0]", "invalid")];
    assert_eq!(faults, expected.map(|(field, code)| (field.to_owned(), code.to_owned())));
}
