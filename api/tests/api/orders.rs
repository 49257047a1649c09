use std::time::Duration;

use futures::StreamExt;
use poem::Response;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    shop::checkout,
    support::{App, text},
};

/// Generous: it only ends tests that fail.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_order_is_its_owner_s_alone() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 100)]).await;
    let (_, jane) = app.customer("jane@example.com").await;
    let (_, joe) = app.customer("joe@example.com").await;
    let body = checkout(json!({ "lines": [{ "sku": "A", "quantity": 1 }] }));
    let order = app.post("/v1/checkout", body).token(&jane).send().await.expect(202);
    let guest = app.guest_order(&[("A", 1)]).await;
    let other = app.guest_order(&[("A", 2)]).await;
    let token = text(&guest, "guest_token");
    let reader = app.key(&["orders:read"]).await;
    let writer = app.key(&["orders:write"]).await;
    let admin = app.admin().await;
    for suffix in ["", "/trail", "/events"] {
        let mine = format!("/v1/orders/{}{suffix}", text(&order, "id"));
        let guests = format!("/v1/orders/{}{suffix}", text(&guest, "id"));
        app.get(&mine).token(&joe).send().await.problem(404, "not_found");
        app.get(&mine).header("x-order-token", token).send().await.problem(404, "not_found");
        app.get(&mine).send().await.problem(401, "unauthenticated");
        app.get(&mine).key(&writer).send().await.problem(403, "forbidden");
        app.get(&guests).token(&jane).send().await.problem(404, "not_found");
        app.get(&guests)
            .header("x-order-token", text(&other, "guest_token"))
            .send()
            .await
            .problem(404, "not_found");
        app.get(&guests).header("x-order-token", "").send().await.problem(404, "not_found");
    }
    for suffix in ["", "/trail"] {
        let mine = format!("/v1/orders/{}{suffix}", text(&order, "id"));
        let guests = format!("/v1/orders/{}{suffix}", text(&guest, "id"));
        let all = format!("/v1/admin/orders/{}{suffix}", text(&guest, "id"));
        app.get(&mine).token(&jane).send().await.expect(200);
        app.get(&guests).header("x-order-token", token).send().await.expect(200);
        app.get(&guests).key(&reader).send().await.expect(200);
        app.get(&all).token(&admin).send().await.expect(200);
        app.get(&all).token(&jane).send().await.problem(403, "forbidden");
    }
    app.get("/v1/orders/nonsense").token(&jane).send().await.problem(404, "not_found");
}

#[tokio::test]
async fn lists_hold_each_order_once() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 100)]).await;
    let (jane_id, jane) = app.customer("jane@example.com").await;
    let mut placed = Vec::new();
    for i in 0..5 {
        let what = json!({ "lines": [{ "sku": "A", "quantity": 1 }], "reference": format!("R{}", i % 2) });
        let order = app.post("/v1/checkout", checkout(what)).token(&jane).send().await.expect(202);
        placed.insert(0, text(&order, "id").to_owned());
    }
    app.guest_order(&[("A", 1)]).await;
    app.move_order(&placed[2], "completed", "confirmed").await;

    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page =
            app.get(&format!("/v1/orders?limit=2&cursor={cursor}")).token(&jane).send().await.expect(200);
        seen.extend(page["data"].as_array().unwrap().iter().map(|order| text(order, "id").to_owned()));
        assert_eq!(page["data"][0]["lines"][0]["sku"], "A");
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, placed);

    let admin = app.admin().await;
    let count = |query: &str| {
        let path = format!("/v1/admin/orders?{query}");
        let (app, admin) = (&app, &admin);
        async move { app.get(&path).token(admin).send().await.expect(200)["data"].as_array().unwrap().len() }
    };
    assert_eq!(count("").await, 6);
    assert_eq!(count("reference=R1").await, 2);
    assert_eq!(count(&format!("customer_id={jane_id}&reference=R0")).await, 3);
    assert_eq!(count("status=confirmed").await, 1);
    let path = format!("/v1/orders/{}", placed[2]);
    let number = app.get(&path).token(&jane).send().await.expect(200)["number"].as_i64().unwrap();
    let found = app.get(&format!("/v1/admin/orders?number={number}")).token(&admin).send().await.expect(200);
    assert_eq!(
        (found["data"].as_array().unwrap().len(), text(&found["data"][0], "id")),
        (1, placed[2].as_str())
    );
    assert_eq!(count(&format!("number={number}&status=pending")).await, 0);
    assert_eq!(count("number=-1").await, 0);
    app.get("/v1/orders?status=lost").token(&jane).send().await.problem(422, "validation");
    app.get("/v1/orders").send().await.problem(401, "unauthenticated");
    app.get("/v1/admin/orders").token(&jane).send().await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_poll_waits_for_the_next_move() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 100)]).await;
    let order = app.guest_order(&[("A", 1)]).await;
    let (id, token) = (text(&order, "id"), text(&order, "guest_token"));
    let get = |query: &str, etag: &str| {
        let call = app.get(&format!("/v1/orders/{id}{query}")).header("x-order-token", token);
        if etag.is_empty() { call.send() } else { call.header("if-none-match", etag).send() }
    };
    assert_eq!(get("", "").await.header("etag"), Some("\"v1\""));
    assert_eq!(get("", "\"v1\"").await.status.as_u16(), 304);
    assert_eq!(get("?wait=1", "\"v1\"").await.status.as_u16(), 304);
    // Another version than the client's is told at once.
    assert_eq!(get("?wait=30", "\"v0\"").await.expect(200)["version"], 1);
    let faults = get("?wait=31", "").await.faults();
    assert_eq!(faults[0].0, "wait");

    let (told, ()) = tokio::join!(get("?wait=30", "\"v1\""), app.move_order(id, "reserved", "pending"));
    assert_eq!(told.header("etag"), Some("\"v2\""));
    assert_eq!(told.expect(200)["step"], "reserved");
    let (told, ()) = tokio::join!(get("?wait=30", ""), async {
        until_watched(&app).await;
        app.move_order(id, "completed", "confirmed").await;
    });
    assert_eq!(told.expect(200)["status"], "confirmed");
    // Nothing more will happen: no waiting.
    let answer = timeout(DEADLINE, get("?wait=30", "\"v3\"")).await.unwrap();
    assert_eq!(answer.status.as_u16(), 304);
}

/// A stream of server-sent events, read one by one.
struct Events {
    body: std::pin::Pin<Box<dyn futures::Stream<Item = std::io::Result<bytes::Bytes>> + Send>>,
    text: String,
}

impl Events {
    fn new(response: Response) -> Self {
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.content_type(), Some("text/event-stream"));
        Self { body: Box::pin(response.into_body().into_bytes_stream()), text: String::new() }
    }

    /// The next event's id and order; none at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
                if let Some(data) = field("data:") {
                    assert_eq!(field("event:"), Some("order"));
                    return Some((field("id:").unwrap().to_owned(), serde_json::from_str(data).unwrap()));
                }
            }
            let chunk = timeout(DEADLINE, self.body.next()).await.expect("an event in time")?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

async fn until_watched(app: &App) {
    let end = tokio::time::Instant::now() + DEADLINE;
    while app.state.order_hub.watchers() == 0 {
        assert!(tokio::time::Instant::now() < end, "nobody watches");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_stream_tells_every_move_and_ends_with_the_last() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 100)]).await;
    let order = app.guest_order(&[("A", 1)]).await;
    let (id, token) = (text(&order, "id"), text(&order, "guest_token"));
    let path = format!("/v1/orders/{id}/events");
    let open = |last: Option<&str>| {
        let call = app.get(&path).header("x-order-token", token);
        match last {
            Some(last) => call.header("last-event-id", last).open(),
            None => call.open(),
        }
    };
    let mut first = Events::new(open(None).await);
    let mut second = Events::new(open(Some("1")).await);
    let (version, data) = first.next().await.unwrap();
    assert_eq!(version, "1");
    assert_eq!(data["status"], "pending");
    assert!(data.get("guest_token").is_none());
    for (step, status, version) in
        [("reserved", "pending", "2"), ("captured", "pending", "3"), ("completed", "confirmed", "4")]
    {
        app.move_order(id, step, status).await;
        for events in [&mut first, &mut second] {
            let (seen, data) = events.next().await.unwrap();
            assert_eq!((seen.as_str(), text(&data, "step")), (version, step));
        }
    }
    assert!(first.next().await.is_none());
    assert!(second.next().await.is_none());
    drop((first, second));
    assert_eq!(app.state.order_hub.watchers(), 0);

    // Who comes late sees the end; who has seen it is told not to come again.
    let mut late = Events::new(open(Some("2")).await);
    assert_eq!(late.next().await.unwrap().0, "4");
    assert!(late.next().await.is_none());
    assert_eq!(open(Some("4")).await.status().as_u16(), 204);
}

#[tokio::test]
async fn streams_end_when_the_process_does_and_leave_nothing_behind() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 100)]).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let order = app.guest_order(&[("A", 1)]).await;
        let path = format!("/v1/orders/{}/events", text(&order, "id"));
        let token = text(&order, "guest_token").to_owned();
        streams.push(Events::new(app.get(&path).header("x-order-token", &token).open().await));
    }
    assert_eq!(app.state.order_hub.watchers(), 20);
    streams.truncate(10);
    assert_eq!(app.state.order_hub.watchers(), 10);
    app.state.order_hub.close();
    for stream in &mut streams {
        assert_eq!(stream.next().await.unwrap().0, "1");
        assert!(stream.next().await.is_none());
    }
    drop(streams);
    assert_eq!(app.state.order_hub.watchers(), 0);
}

#[tokio::test]
async fn a_trail_shows_buyers_what_concerns_them_and_the_shop_everything() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 100)]).await;
    let key = app.key(&["orders:write"]).await;
    let what = json!({ "lines": [{ "sku": "A", "quantity": 1 }], "email": "guest@example.com" });
    let order = app.post("/v1/checkout", checkout(what)).key(&key).send().await.expect(202);
    let id = text(&order, "id");
    let trail =
        app.get(&format!("/v1/orders/{id}/trail")).header("x-order-token", text(&order, "guest_token"));
    let public = trail.send().await.expect(200);
    let admin = app.admin().await;
    let whole = app.get(&format!("/v1/admin/orders/{id}/trail")).token(&admin).send().await.expect(200);
    let sources = |trail: &Value| -> Vec<String> {
        trail["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| format!("{} {}", text(e, "source"), text(e, "kind")))
            .collect()
    };
    assert_eq!(sources(&public), ["order accepted", "job checkout.run", "event order.placed"]);
    assert_eq!(sources(&public), sources(&whole));
    assert!(whole.to_string().contains("api_key:"));
    assert!(!public.to_string().contains("api_key:"));
}
