//! The API's promises that hold for every resource, and those of identity and orders.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use diesel_async::SimpleAsyncConnection as _;
use futures::StreamExt as _;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use waybill_tests::{
    Client, Plan, System,
    client::{Reply, reply},
    process::Process,
    shop::checkout,
    until,
};

#[tokio::test]
async fn the_published_document_is_the_one_agreed_on() -> anyhow::Result<()> {
    let (well, document, errors) = Process::finish("waybill-api", &["openapi"], &[].into()).await?;
    ensure!(well, "{errors}");
    let document: Value = serde_json::from_str(&document)?;
    let version = document["openapi"].as_str().unwrap_or_default();
    ensure!(version.starts_with("3."), "OpenAPI {version}");
    // Clients in other languages are generated from these names.
    let mut ids: Vec<&str> = operations(&document).filter_map(|op| op["operationId"].as_str()).collect();
    let all = operations(&document).count();
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == all, "{} operation ids for {all} operations", ids.len());
    insta::assert_snapshot!("openapi", serde_json::to_string_pretty(&document)?);
    Ok(())
}

fn operations(document: &Value) -> impl Iterator<Item = &Value> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(_, path)| path.as_object().into_iter().flatten()).map(|(_, operation)| operation)
}

/// Sends a request that must be refused, and checks everything that every problem has.
async fn refused(request: RequestBuilder, status: StatusCode, code: &str) -> anyhow::Result<Reply> {
    let reply = reply(request.header("x-request-id", "a-test-of-problems")).await?;
    ensure!(reply.status == status && reply.body["code"] == code, "not {status} {code} but {reply:?}");
    ensure!(reply.header("content-type") == "application/problem+json", "{reply:?}");
    ensure!(reply.body["type"] == format!("/problems/{code}"), "{reply:?}");
    ensure!(reply.body["status"] == status.as_u16(), "{reply:?}");
    ensure!(reply.body["request_id"] == "a-test-of-problems", "{reply:?}");
    ensure!(reply.header("x-request-id") == "a-test-of-problems", "{reply:?}");
    for member in ["title", "detail"] {
        ensure!(reply.body[member].as_str().is_some_and(|text| text.len() > 3), "{member}: {reply:?}");
    }
    if code == "validation" {
        let errors = reply.body["errors"].as_array().context("a validation names fields")?;
        ensure!(!errors.is_empty(), "{reply:?}");
        for error in errors {
            let told = ["field", "code", "message"].iter().all(|member| error[member].is_string());
            ensure!(told, "{reply:?}");
        }
    }
    Ok(reply)
}

/// The fields that a problem names.
fn fields(reply: &Reply) -> Vec<&str> {
    reply.body["errors"].as_array().into_iter().flatten().filter_map(|e| e["field"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_is_a_problem_of_one_shape() -> anyhow::Result<()> {
    let limit = [("WAYBILL_API__BODY_LIMIT_BYTES", "4096")];
    let system = System::start(Plan::with(&limit).workers(0)).await?;
    let (nobody, admin) = (&system.anybody, &system.admin);
    let (customer, _) = nobody.register("ada@example.com").await?;
    let register = || nobody.request(Method::POST, "/v1/auth/register");
    let json_of = |request: RequestBuilder, body: &str| {
        request.header("content-type", "application/json").body(body.to_owned())
    };

    refused(nobody.request(Method::GET, "/nowhere"), StatusCode::NOT_FOUND, "not_found").await?;
    refused(nobody.request(Method::GET, "/v1/nowhere"), StatusCode::NOT_FOUND, "not_found").await?;
    refused(nobody.request(Method::GET, "/v1/products/no-such"), StatusCode::NOT_FOUND, "not_found").await?;
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let request = nobody.request(method, "/v1/products");
        refused(request, StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed").await?;
    }
    for body in ["{", "", "nonsense", "{\"email\": \"a@example.com\",}", "\u{feff}{}x"] {
        refused(json_of(register(), body), StatusCode::BAD_REQUEST, "malformed").await?;
    }
    for body in ["[]", "null", "3", "{}", "\"text\""] {
        refused(json_of(register(), body), StatusCode::UNPROCESSABLE_ENTITY, "validation").await?;
    }
    let request = register().header("content-type", "text/plain").body("{}");
    refused(request, StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type").await?;

    // All faults at once, by the names of the fields.
    let wrong =
        json!({ "email": 7, "password": "a-rather-long-passphrase", "first_name": "A", "colour": "red" });
    let reply = refused(register().json(&wrong), StatusCode::UNPROCESSABLE_ENTITY, "validation").await?;
    for field in ["email", "last_name", "colour"] {
        ensure!(fields(&reply).contains(&field), "{field} in {reply:?}");
    }
    let weak = json!({ "email": "no address", "password": "password", "first_name": "A", "last_name": "B" });
    let reply = refused(register().json(&weak), StatusCode::UNPROCESSABLE_ENTITY, "validation").await?;
    ensure!(fields(&reply).contains(&"email") && fields(&reply).contains(&"password"), "{reply:?}");
    let taken = json!({ "email": "ADA@example.com", "password": "a-rather-long-passphrase",
                        "first_name": "A", "last_name": "B" });
    refused(register().json(&taken), StatusCode::CONFLICT, "email_taken").await?;

    for (path, field) in [
        ("/v1/products?limit=0", "limit"),
        ("/v1/products?limit=many", "limit"),
        ("/v1/products?sort=colour", "sort"),
        ("/v1/products?cursor=nonsense", "cursor"),
        ("/v1/products?price_min=-1", "price_min"),
    ] {
        let reply =
            refused(nobody.request(Method::GET, path), StatusCode::UNPROCESSABLE_ENTITY, "validation").await;
        let reply = reply.with_context(|| path.to_owned())?;
        ensure!(fields(&reply) == [field], "{path}: {reply:?}");
    }

    let large = json!({ "email": "a".repeat(5_000) });
    refused(register().json(&large), StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large").await?;
    // Without a length to go by, too.
    let chunks = futures::stream::iter((0..10).map(|_| std::io::Result::Ok(vec![b' '; 1_000])));
    let request =
        register().header("content-type", "application/json").body(reqwest::Body::wrap_stream(chunks));
    refused(request, StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large").await?;

    for path in ["/v1/me", "/v1/orders", "/v1/admin/orders", "/v1/admin/system/checks", "/v1/auth/sessions"] {
        let reply =
            refused(nobody.request(Method::GET, path), StatusCode::UNAUTHORIZED, "unauthenticated").await?;
        ensure!(reply.header("www-authenticate").starts_with("Bearer"), "{reply:?}");
        let forged = nobody.with_token("eyJhbGciOiJub25lIn0.eyJzdWIiOiIwIn0.");
        refused(forged.request(Method::GET, path), StatusCode::UNAUTHORIZED, "unauthenticated").await?;
        let unknown = nobody.with_key("wbk_unknown");
        refused(unknown.request(Method::GET, path), StatusCode::UNAUTHORIZED, "unauthenticated").await?;
    }
    for path in ["/v1/admin/orders", "/v1/admin/system/checks", "/v1/admin/products", "/v1/admin/api-keys"] {
        refused(customer.request(Method::GET, path), StatusCode::FORBIDDEN, "forbidden").await?;
    }
    let reader = system.key(&["orders:read"]).await?;
    ensure!(reader.get("/v1/admin/orders").await?.0 == StatusCode::OK);
    refused(reader.request(Method::GET, "/v1/admin/system/checks"), StatusCode::FORBIDDEN, "forbidden")
        .await?;

    let nonsense = json!({ "name": "key", "scopes": ["orders:eat"] });
    let request = admin.request(Method::POST, "/v1/admin/api-keys").json(&nonsense);
    refused(request, StatusCode::UNPROCESSABLE_ENTITY, "validation").await?;
    let order = "/v1/orders/00000000-0000-7000-8000-000000000000";
    refused(customer.request(Method::GET, order), StatusCode::NOT_FOUND, "not_found").await?;
    refused(customer.request(Method::GET, "/v1/orders/7"), StatusCode::NOT_FOUND, "not_found").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_end_at_once_and_tokens_work_once() -> anyhow::Result<()> {
    let limit = [("WAYBILL_API__LOGIN_ATTEMPTS_PER_MINUTE", "5")];
    let system = System::start(Plan::with(&limit).workers(0)).await?;
    let nobody = &system.anybody;
    let (first, _) = nobody.register("ada@example.com").await?;
    let login = json!({ "email": "ada@example.com", "password": waybill_tests::client::PASSWORD });
    let (_, tokens) = nobody.post("/v1/auth/login", &login).await?;
    let second = nobody.with_token(tokens["access_token"].as_str().context("no token")?);

    // One log-out ends that session alone, for the very next request.
    ensure!(second.get("/v1/me").await?.0 == StatusCode::OK);
    ensure!(second.post("/v1/auth/logout", &Value::Null).await?.0 == StatusCode::NO_CONTENT);
    refused(second.request(Method::GET, "/v1/me"), StatusCode::UNAUTHORIZED, "unauthenticated").await?;
    let old = json!({ "refresh_token": tokens["refresh_token"] });
    let request = nobody.request(Method::POST, "/v1/auth/refresh").json(&old);
    refused(request, StatusCode::UNAUTHORIZED, "unauthenticated").await?;
    ensure!(first.get("/v1/me").await?.0 == StatusCode::OK);

    // A refresh token works once; whoever uses it again ends the session for both.
    let (_, tokens) = nobody.post("/v1/auth/login", &login).await?;
    let old = json!({ "refresh_token": tokens["refresh_token"] });
    let (status, fresh) = nobody.post("/v1/auth/refresh", &old).await?;
    ensure!(
        status == StatusCode::OK && fresh["refresh_token"] != tokens["refresh_token"],
        "{status} {fresh}"
    );
    let third = nobody.with_token(fresh["access_token"].as_str().context("no token")?);
    ensure!(third.get("/v1/me").await?.0 == StatusCode::OK);
    let request = nobody.request(Method::POST, "/v1/auth/refresh").json(&old);
    refused(request, StatusCode::UNAUTHORIZED, "token_reused").await?;
    refused(third.request(Method::GET, "/v1/me"), StatusCode::UNAUTHORIZED, "unauthenticated").await?;
    let new = json!({ "refresh_token": fresh["refresh_token"] });
    let (status, _) = nobody.post("/v1/auth/refresh", &new).await?;
    ensure!(status == StatusCode::UNAUTHORIZED, "{status}");

    // A key that is revoked opens nothing any more.
    let body = json!({ "name": "short-lived", "scopes": ["orders:read"] });
    let (_, key) = system.admin.post("/v1/admin/api-keys", &body).await?;
    let holder = nobody.with_key(key["key"].as_str().context("no key")?);
    ensure!(holder.get("/v1/admin/orders").await?.0 == StatusCode::OK);
    let path = format!("/v1/admin/api-keys/{}", key["id"].as_str().context("no id")?);
    ensure!(reply(system.admin.request(Method::DELETE, &path)).await?.status == StatusCode::NO_CONTENT);
    refused(holder.request(Method::GET, "/v1/admin/orders"), StatusCode::UNAUTHORIZED, "unauthenticated")
        .await?;

    // Out everywhere.
    ensure!(first.post("/v1/auth/logout-all", &Value::Null).await?.0 == StatusCode::NO_CONTENT);
    refused(first.request(Method::GET, "/v1/me"), StatusCode::UNAUTHORIZED, "unauthenticated").await?;

    // Guessing is stopped, also for the right password, and says for how long.
    let wrong = json!({ "email": "ada@example.com", "password": "not-the-passphrase" });
    for _ in 0..5 {
        let request = nobody.request(Method::POST, "/v1/auth/login").json(&wrong);
        let tried = reply(request).await?;
        ensure!([401, 429].contains(&tried.status.as_u16()), "{tried:?}");
    }
    let request = nobody.request(Method::POST, "/v1/auth/login").json(&login);
    let stopped = refused(request, StatusCode::TOO_MANY_REQUESTS, "rate_limited").await?;
    ensure!(stopped.header("retry-after").parse::<u64>()? >= 1, "{stopped:?}");
    Ok(())
}

/// A guest's checkout of one mug.
fn guest(email: &str) -> Value {
    let mut body = checkout(&[("MUG-1", 1)], "tok_visa");
    body["email"] = json!(email);
    body
}

/// The events of a stream until it ends: their ids, and the orders.
async fn follow(client: &Client, path: &str, token: &str) -> anyhow::Result<Vec<(String, Value)>> {
    let response = client.request(Method::GET, path).header("x-order-token", token).send().await?;
    ensure!(response.status() == StatusCode::OK, "{}", response.status());
    let kind = response.headers()["content-type"].to_str()?.to_owned();
    ensure!(kind.starts_with("text/event-stream"), "{kind}");
    let mut text = String::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = tokio::time::timeout(Duration::from_secs(60), stream.next()).await? {
        text.push_str(std::str::from_utf8(&chunk?)?);
    }
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    text.split("\n\n")
        .filter(|event| event.lines().any(|line| line.starts_with("data:")))
        .map(|event| {
            ensure!(field(event, "event:").as_deref() == Some("order"), "{event}");
            let data = field(event, "data:").context("no data")?;
            Ok((field(event, "id:").context("no id")?, serde_json::from_str(&data)?))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_can_be_followed_to_its_end_in_three_ways() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(0)).await?;
    system.sell("MUG-1", "7.65", 100).await?;
    let order = system.place(&system.anybody, &guest("ada@example.com")).await?;
    let path = format!("/v1/orders/{}", order["id"].as_str().context("no id")?);
    let token = order["guest_token"].as_str().context("no token for a guest")?.to_owned();

    // The token is the key to this order alone, and nobody else sees it.
    let anybody = system.anybody.clone();
    let with = |path: &str, token: &str| {
        anybody.request(Method::GET, path).header("x-order-token", token.to_owned())
    };
    refused(system.anybody.request(Method::GET, &path), StatusCode::UNAUTHORIZED, "unauthenticated").await?;
    refused(with(&path, "another"), StatusCode::NOT_FOUND, "not_found").await?;
    let (eve, _) = system.anybody.register("eve@example.com").await?;
    refused(eve.request(Method::GET, &path), StatusCode::NOT_FOUND, "not_found").await?;
    for below in ["/events", "/trail"] {
        refused(eve.request(Method::GET, &format!("{path}{below}")), StatusCode::NOT_FOUND, "not_found")
            .await?;
    }

    // Polling: no news costs nothing.
    let seen = reply(with(&path, &token)).await?;
    let etag = seen.header("etag").to_owned();
    ensure!(seen.body["status"] == "pending" && !etag.is_empty(), "{seen:?}");
    ensure!(seen.body.get("guest_token").is_none_or(Value::is_null), "the token is told once: {seen:?}");
    let same = reply(with(&path, &token).header("if-none-match", &etag)).await?;
    ensure!(same.status == StatusCode::NOT_MODIFIED && same.body.is_null(), "{same:?}");

    // Long poll and stream wait while nothing happens, and hear of it when it does.
    let patient = with(&format!("{path}?wait=30"), &token).header("if-none-match", &etag);
    let polled = tokio::spawn(reply(patient));
    let (events_path, client, guest_token) =
        (format!("{path}/events"), system.anybody.clone(), token.clone());
    let streamed = tokio::spawn(async move { follow(&client, &events_path, &guest_token).await });
    let watched = "select count(*) as n from orders where step = 'accepted'";
    ensure!(system.count(watched).await? == 1 && !polled.is_finished() && !streamed.is_finished());
    system.add_worker(&[]).await?;
    let polled = polled.await??;
    ensure!(polled.status == StatusCode::OK && polled.header("etag") != etag, "{polled:?}");
    let events = streamed.await??;
    let (last_id, last) = events.last().context("no events")?;
    ensure!(events.len() >= 2 && last["status"] == "confirmed", "{events:?}");
    let ids: Vec<i64> = events.iter().map(|(id, _)| id.parse()).collect::<Result<_, _>>()?;
    ensure!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    // A client that has seen the end is told to stop; one that has not gets it.
    let again = with(&format!("{path}/events"), &token).header("last-event-id", last_id);
    ensure!(reply(again).await?.status == StatusCode::NO_CONTENT);
    let late = follow(&system.anybody, &format!("{path}/events"), &token).await?;
    ensure!(late.len() == 1 && late[0].1["status"] == "confirmed", "{late:?}");
    // A settled order makes nobody wait.
    let settled = reply(with(&format!("{path}?wait=30"), &token)).await?;
    ensure!(settled.body["status"] == "confirmed", "{settled:?}");
    refused(with(&format!("{path}?wait=31"), &token), StatusCode::UNPROCESSABLE_ENTITY, "validation").await?;
    system.at_rest().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_sent_twice_is_one_order() -> anyhow::Result<()> {
    let system = System::start(Plan::default()).await?;
    system.sell("MUG-1", "7.65", 100).await?;
    let send = |key: &str, body: &Value| {
        system
            .anybody
            .request(Method::POST, "/v1/checkout")
            .header("idempotency-key", key.to_owned())
            .json(body)
    };
    let body = guest("ada@example.com");
    let first = reply(send("one", &body)).await?;
    ensure!(first.status == StatusCode::ACCEPTED, "{first:?}");
    ensure!(first.header("location").ends_with(first.body["id"].as_str().unwrap_or("-")), "{first:?}");
    let second = reply(send("one", &body)).await?;
    ensure!(second.status == StatusCode::ACCEPTED && second.body == first.body, "{second:?}");
    let mut other = body.clone();
    other["lines"][0]["quantity"] = json!(2);
    refused(send("one", &other), StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch").await?;
    // Keys of others have nothing to do with it.
    let stranger = reply(send("one", &guest("eve@example.com"))).await?;
    ensure!(
        stranger.status == StatusCode::ACCEPTED && stranger.body["id"] != first.body["id"],
        "{stranger:?}"
    );
    refused(send(&"k".repeat(256), &body), StatusCode::UNPROCESSABLE_ENTITY, "validation").await?;

    // While the first is under way: the table is locked, so that it cannot end before the second has come.
    let mut lock = system.connection().await?;
    lock.batch_execute("begin; lock table orders in exclusive mode").await?;
    let slow = tokio::spawn(reply(send("two", &body)));
    let waits = "select count(*) as n from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock' and query ilike '%insert into orders%'";
    system.until_count("the first request to wait", waits, 1).await?;
    let early = refused(send("two", &body), StatusCode::CONFLICT, "idempotency_in_progress").await?;
    ensure!(early.header("retry-after").parse::<u64>()? >= 1, "{early:?}");
    lock.batch_execute("commit").await?;
    let slow = slow.await??;
    ensure!(slow.status == StatusCode::ACCEPTED, "{slow:?}");
    let after = reply(send("two", &body)).await?;
    ensure!(after.body["id"] == slow.body["id"], "{after:?}");

    // One that failed leaves the key free.
    let mut wrong = body.clone();
    wrong["lines"][0]["sku"] = json!("NOTHING");
    refused(send("three", &wrong), StatusCode::UNPROCESSABLE_ENTITY, "validation").await?;
    ensure!(reply(send("three", &body)).await?.status == StatusCode::ACCEPTED);
    ensure!(system.count("select count(*) as n from orders").await? == 4);
    system.at_rest().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prices_are_agreed_by_those_who_may_and_totals_are_not_guessed() -> anyhow::Result<()> {
    let system = System::start(Plan::default()).await?;
    system.sell("MUG-1", "7.65", 100).await?;
    let mut agreed = guest("ada@example.com");
    agreed["lines"] = json!([
        { "sku": "MUG-1", "quantity": 3, "agreed_price": "0.125" },
        { "sku": "MUG-1", "quantity": 1 },
    ]);
    let checkout = |client: &Client, body: &Value| client.request(Method::POST, "/v1/checkout").json(body);
    let (customer, customer_id) = system.anybody.register("ada@example.com").await?;
    let writer = system.key(&["orders:write"]).await?;
    refused(checkout(&system.anybody, &agreed), StatusCode::UNAUTHORIZED, "unauthenticated").await?;
    for caller in [&customer, &writer, &system.admin] {
        refused(checkout(caller, &agreed), StatusCode::FORBIDDEN, "forbidden").await?;
    }
    let agent = system.key(&["orders:write", "orders:agreed_price"]).await?;
    let placed = reply(checkout(&agent, &agreed)).await?;
    ensure!(placed.status == StatusCode::ACCEPTED, "{placed:?}");
    // 3 x 0.125 is 0.375, half away from zero 0.38, and the catalogue's 7.65.
    ensure!(placed.body["total"]["amount"] == "8.03", "{placed:?}");
    ensure!(
        placed.body["lines"][0]["agreed"] == true && placed.body["lines"][1]["agreed"] == false,
        "{placed:?}"
    );
    for price in ["-1", "1.23456", "free", "1e3", ""] {
        agreed["lines"][0]["agreed_price"] = json!(price);
        let reply =
            refused(checkout(&agent, &agreed), StatusCode::UNPROCESSABLE_ENTITY, "validation").await?;
        ensure!(fields(&reply) == ["lines[0].agreed_price"], "{reply:?}");
    }

    // For a customer, by those who may.
    let mut behalf = guest("ada@example.com");
    behalf["customer_id"] = json!(customer_id);
    refused(checkout(&customer, &behalf), StatusCode::FORBIDDEN, "forbidden").await?;
    let placed = reply(checkout(&agent, &behalf)).await?;
    ensure!(
        placed.status == StatusCode::ACCEPTED && placed.body["customer_id"] == customer_id.as_str(),
        "{placed:?}"
    );
    let mine = customer.read("/v1/orders").await?;
    ensure!(mine["data"].as_array().is_some_and(|orders| orders.len() == 1), "{mine}");

    // A total that the buyer was not shown is not charged.
    let mut shown = guest("ada@example.com");
    shown["expected_total"] = json!("7.64");
    let reply = refused(checkout(&customer, &shown), StatusCode::CONFLICT, "total_changed").await?;
    ensure!(reply.body["total"]["amount"] == "7.65", "{reply:?}");
    shown["expected_total"] = json!("7.65");
    ensure!(waybill_tests::client::reply(checkout(&customer, &shown)).await?.status == StatusCode::ACCEPTED);

    for (change, field) in [
        (json!({ "lines": [] }), "lines"),
        (json!({ "lines": [{ "sku": "NOTHING", "quantity": 1 }] }), "lines[0].sku"),
        (json!({ "lines": [{ "sku": "MUG-1", "quantity": 0 }] }), "lines[0].quantity"),
        (json!({ "lines": [{ "sku": "MUG-1", "quantity": -1 }] }), "lines[0].quantity"),
        (json!({ "email": "nobody" }), "email"),
        (json!({ "payment": { "token": "" } }), "payment.token"),
        (json!({ "payment": { "token": "4242424242424242" } }), "payment.token"),
        (json!({ "currency": "EUR" }), "lines[0].sku"),
    ] {
        let mut body = guest("ada@example.com");
        for (name, value) in change.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let reply =
            refused(checkout(&system.anybody, &body), StatusCode::UNPROCESSABLE_ENTITY, "validation").await;
        let reply = reply.with_context(|| change.to_string())?;
        ensure!(fields(&reply).contains(&field), "{change}: {reply:?}");
    }
    until("all orders to settle", async || {
        let pending = system.count("select count(*) as n from orders where status = 'pending'").await?;
        Ok(if pending == 0 { Ok(()) } else { Err(pending.to_string()) })
    })
    .await?;
    system.at_rest().await?;
    Ok(())
}
