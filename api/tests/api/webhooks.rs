use serde_json::{Value, json};
use waybill_jobs::{kinds::DeliverWebhook, testing::enqueued};
use waybill_platform::signature::SigningKey;
use waybill_schema::webhooks::{deliveries, secret_purpose};

use crate::support::{App, text};

const PATH: &str = "/v1/admin/webhook-endpoints";

#[tokio::test]
async fn an_endpoint_is_registered_changed_and_removed() {
    use secrecy::ExposeSecret;
    let app = App::start().await;
    let admin = app.admin().await;
    let body =
        json!({ "url": "https://example.com/hook", "event_types": ["order.placed", "order.confirmed"] });
    let made = app.post(PATH, body).token(&admin).send().await;
    let path = made.header("location").unwrap().to_owned();
    let made = made.expect(201);
    let secret = text(&made, "secret");
    assert!(secret.starts_with("whsec_") && SigningKey::parse(secret).is_ok());
    assert_eq!(made["event_types"], json!(["order.confirmed", "order.placed"]));

    let read = app.get(&path).token(&admin).send().await.expect(200);
    assert!(read.get("secret").is_none());
    let readable =
        format!("select count(*) as n from webhook_endpoints where secret = convert_to('{secret}', 'UTF8')");
    assert_eq!(app.db.count(&readable).await, 0);
    // The worker can open what was sealed.
    let started = app.post(&format!("{path}/test"), json!({})).token(&admin).send().await.expect(202);
    let delivery = text(&started, "id").parse().unwrap();
    let due = deliveries::due(&mut *app.db.conn().await, delivery).await.unwrap().unwrap();
    let opened = app.state.vault.open(&due.secret, &secret_purpose(due.endpoint_id)).unwrap();
    assert_eq!(opened.expose_secret(), secret.as_bytes());
    let sent: Value = serde_json::from_str(&due.body).unwrap();
    assert_eq!((text(&sent, "type"), text(&sent, "id")), ("webhook.test", due.event_id.to_string().as_str()));
    assert_eq!(enqueued::<DeliverWebhook>(app.db.pool()).await[0].delivery_id, delivery);

    let change = json!({ "active": false, "event_types": [], "description": "Warehouse" });
    let changed = app.patch(&path, change).token(&admin).send().await.expect(200);
    assert_eq!((changed["active"].as_bool(), text(&changed, "description")), (Some(false), "Warehouse"));
    assert_eq!(changed["url"], made["url"]);
    app.post(&format!("{path}/test"), json!({})).token(&admin).send().await.problem(409, "conflict");
    assert_eq!(app.get(PATH).token(&admin).send().await.expect(200)["data"][0], changed);
    app.delete(&path).token(&admin).send().await.expect(204);
    for call in [
        app.get(&path),
        app.delete(&path),
        app.patch(&path, json!({})),
        app.get(&format!("{path}/deliveries")),
    ] {
        call.token(&admin).send().await.problem(404, "not_found");
    }
    app.get(PATH).key(&app.key(&["orders:read"]).await).send().await.problem(403, "forbidden");
}

#[tokio::test]
async fn bad_endpoints_are_refused() {
    let app = App::start().await;
    let admin = app.admin().await;
    let body = json!({ "url": "http://user:pw@127.0.0.1/", "event_types": ["order.placed", "order.lost"],
                       "description": "x".repeat(501) });
    let faults = app.post(PATH, body).token(&admin).send().await.faults();
    let fields: Vec<&str> = faults.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["description", "event_types[1]", "url"]);
    for url in
        ["http://example.com/", "https://localhost/", "https://10.0.0.1/", "ftp://example.com/", "hook"]
    {
        let faults = app.post(PATH, json!({ "url": url })).token(&admin).send().await.faults();
        assert_eq!(faults, [("url".to_owned(), "invalid".to_owned())], "{url}");
    }
    let lenient = App::with(&[
        ("WAYBILL_WEBHOOKS__ALLOW_PRIVATE_ADDRESSES", "true"),
        ("WAYBILL_WEBHOOKS__REQUIRE_HTTPS", "false"),
    ])
    .await;
    let admin = lenient.admin().await;
    lenient.post(PATH, json!({ "url": "http://127.0.0.1:9/hook" })).token(&admin).send().await.expect(201);
}

#[tokio::test]
async fn a_delivery_is_sent_again_once_it_is_over() {
    let app = App::start().await;
    let admin = app.admin().await;
    let made =
        app.post(PATH, json!({ "url": "https://example.com/" })).token(&admin).send().await.expect(201);
    let path = format!("{PATH}/{}", text(&made, "id"));
    let started = app.post(&format!("{path}/test"), json!({})).token(&admin).send().await.expect(202);
    let resend = format!("/v1/admin/webhook-deliveries/{}/resend", text(&started, "id"));
    let again = || app.post(&resend, json!({})).token(&admin).send();
    again().await.problem(409, "conflict");
    app.db
        .execute(
            "update webhook_deliveries set status = 'failed', attempts = 2, finished_at = now();
             insert into webhook_attempts (delivery_id, attempt, status, duration_ms, error)
             select id, n, 500 + n, 1, 'HTTP ' || 500 + n from webhook_deliveries, generate_series(1, 2) n",
        )
        .await;
    let list = app.get(&format!("{path}/deliveries")).token(&admin).send().await.expect(200);
    let row = &list["data"][0];
    assert_eq!((text(row, "status"), row["attempts"].as_i64()), ("failed", Some(2)));
    assert_eq!((row["last_status"].as_i64(), text(row, "last_error")), (Some(502), "HTTP 502"));
    let answer = again().await;
    let location = answer.header("location").unwrap().to_owned();
    answer.expect(202);
    assert_eq!(text(&app.get(&location).token(&admin).send().await.expect(200), "kind"), "webhook.deliver");
    again().await.problem(409, "conflict");
    assert_eq!(enqueued::<DeliverWebhook>(app.db.pool()).await.len(), 2);
    let unknown = "/v1/admin/webhook-deliveries/01900000-0000-7000-8000-000000000000/resend";
    app.post(unknown, json!({})).token(&admin).send().await.problem(404, "not_found");
}

#[tokio::test]
async fn a_disabled_endpoint_says_why_and_is_enabled_again() {
    let app = App::start().await;
    let admin = app.admin().await;
    let made =
        app.post(PATH, json!({ "url": "https://example.com/hook" })).token(&admin).send().await.expect(201);
    assert_eq!(
        (&made["failing_since"], &made["disabled_at"], &made["disabled_reason"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    app.db
        .execute(
            "update webhook_endpoints set active = false, failing_since = '2026-01-01T00:00:00Z', failed_at = '2026-01-06T00:00:00Z',
                 disabled_at = '2026-01-06T00:00:00Z', disabled_reason = 'every attempt failed for 5 days'",
        )
        .await;
    let path = format!("{PATH}/{}", text(&made, "id"));
    let shown = app.get(&path).token(&admin).send().await.expect(200);
    assert_eq!(shown["active"].as_bool(), Some(false));
    assert_eq!(
        (text(&shown, "failing_since"), text(&shown, "disabled_at"), text(&shown, "disabled_reason")),
        ("2026-01-01T00:00:00+00:00", "2026-01-06T00:00:00+00:00", "every attempt failed for 5 days")
    );
    // To describe it is not to enable it.
    let described =
        app.patch(&path, json!({ "description": "Warehouse" })).token(&admin).send().await.expect(200);
    assert_eq!((&described["active"], &described["disabled_at"]), (&shown["active"], &shown["disabled_at"]));
    let enabled = app.patch(&path, json!({ "active": true })).token(&admin).send().await.expect(200);
    assert_eq!(enabled["active"].as_bool(), Some(true));
    assert_eq!(
        (&enabled["failing_since"], &enabled["disabled_at"], &enabled["disabled_reason"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    app.post(&format!("{path}/test"), json!({})).token(&admin).send().await.expect(202);
}
