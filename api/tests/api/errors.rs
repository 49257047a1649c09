use serde_json::json;

use crate::support::App;

#[tokio::test]
async fn what_cannot_be_served_is_a_problem_with_a_request_id() {
    let app = App::start().await;

    let answer = app.get("/v1/nothing").header("x-request-id", "shop-42").send().await;
    assert_eq!(answer.header("x-request-id"), Some("shop-42"));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.problem(404, "not_found")["request_id"], "shop-42");

    // An id that could break a log line is replaced.
    let answer = app.get("/v1/nothing").header("x-request-id", "a b\tc").send().await;
    assert_eq!(answer.header("x-request-id").unwrap().len(), 36);

    let answer = app.call(poem::http::Method::PUT, "/v1/auth/login").send().await;
    assert_eq!(answer.header("allow"), Some("POST"));
    answer.problem(405, "method_not_allowed");

    let login = "/v1/auth/login";
    app.post(login, json!({})).text("text/plain", "{}").send().await.problem(415, "unsupported_media_type");
    app.call(poem::http::Method::POST, login).send().await.problem(415, "unsupported_media_type");
    app.post(login, json!({})).text("application/json", "{\"email\":").send().await.problem(400, "malformed");
    app.post(login, json!({})).text("application/json", "").send().await.problem(400, "malformed");
    app.get("/v1/products/not-a-product").send().await.problem(404, "not_found");
    app.get("/v1/products?limit=many").send().await.problem(422, "validation");
    let answer = app.get("/v1/me").send().await;
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    answer.problem(401, "unauthenticated");
}

#[tokio::test]
async fn every_bad_field_is_named_at_once() {
    let app = App::start().await;
    let body = json!({ "email": 7, "password": true, "first_name": null, "age": 9, "nick": "x" });
    let faults = app.post("/v1/auth/register", body).send().await.faults();
    let expected = [
        ("age", "unknown_field"),
        ("email", "type"),
        ("first_name", "required"),
        ("last_name", "required"),
        ("nick", "unknown_field"),
        ("password", "type"),
    ];
    assert_eq!(faults, expected.map(|(field, code)| (field.to_owned(), code.to_owned())));
}

#[tokio::test]
async fn bodies_end_at_their_limit() {
    let app = App::with(&[("WAYBILL_API__BODY_LIMIT_BYTES", "2048")]).await;
    let body = json!({ "email": "a@example.com", "password": "x".repeat(4096) });
    app.post("/v1/auth/login", body.clone()).send().await.problem(413, "payload_too_large");
    let answer = app.post("/v1/auth/login", body).header("content-length", "5000").send().await;
    answer.problem(413, "payload_too_large");
}

#[tokio::test]
async fn clients_are_counted_by_their_address() {
    let settings = [
        ("WAYBILL_RATE_LIMIT__REQUESTS_PER_MINUTE", "60"),
        ("WAYBILL_RATE_LIMIT__BURST", "3"),
        ("WAYBILL_RATE_LIMIT__TRUSTED_PROXIES", "1"),
    ];
    let app = App::with(&settings).await;
    let call = |address: &'static str| app.get("/v1/categories").header("x-forwarded-for", address).send();
    for left in ["2", "1", "0"] {
        let answer = call("203.0.113.7").await;
        assert_eq!(answer.header("ratelimit"), Some(format!("\"default\";r={left}").as_str()));
        answer.expect(200);
    }
    let answer = call("203.0.113.7").await;
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    answer.problem(429, "rate_limited");
    call("203.0.113.8").await.expect(200);
    // The host itself is not counted.
    for _ in 0..10 {
        call("127.0.0.1").await.expect(200);
    }
}

#[tokio::test]
async fn browsers_of_allowed_origins_may_call() {
    let app = App::with(&[("WAYBILL_API__ALLOWED_ORIGINS", "https://shop.example")]).await;
    let answer = app.get("/v1/me").header("origin", "https://shop.example").send().await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"));
    // A page can read the problem, too.
    answer.problem(401, "unauthenticated");
    app.get("/v1/me").header("origin", "https://evil.example").send().await.problem(403, "forbidden");
}

#[tokio::test]
async fn the_document_describes_every_resource() {
    let app = App::start().await;
    let document = app.get("/openapi.json").send().await.expect(200);
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/v1/auth/register",
        "/v1/products/{id}",
        "/v1/admin/products",
        "/v1/admin/api-keys/{id}",
        "/v1/search",
    ] {
        assert!(paths.contains_key(path), "{path} is missing among {:?}", paths.keys());
    }
    // The page for people shows the same: also what webhooks post.
    let page = app.get("/docs").open().await.into_body().into_string().await.unwrap();
    assert!(page.contains("order.placed.v1.webhook"), "the page lacks the events");
    let register = &document["paths"]["/v1/auth/register"]["post"]["responses"];
    assert!(register["201"].is_object() && register["default"].is_object(), "{register:#}");
    let secured = &document["paths"]["/v1/admin/products"]["post"]["security"];
    assert_eq!(secured.as_array().unwrap().len(), 2, "{secured:#}");
}

#[tokio::test]
async fn a_restarted_database_is_found_again() {
    let app = App::start().await;
    for _ in 0..3 {
        app.db.cut_connections().await;
        for _ in 0..20 {
            let answer = app.get("/v1/categories").send().await;
            // Whoever was cut off is told to come back; nobody is told of an error of ours.
            if answer.status.as_u16() != 200 {
                assert!(answer.header("retry-after").is_some());
                answer.problem(503, "unavailable");
            }
        }
        app.get("/v1/categories").send().await.expect(200);
    }
}
