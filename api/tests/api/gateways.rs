use futures::future::join_all;
use serde_json::{Value, json};
use waybill_jobs::{kinds::HandleGatewayEvent, testing::enqueued};
use waybill_platform::signature::SigningKey;

use crate::support::{Answer, App};

const PATH: &str = "/v1/gateways/sandbox/webhooks";
const SECRET: &str = "development-only-sandbox-webhook-secret";
const ORDER: &str = "01900000-0000-7000-8000-00000000000a";

fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

async fn send(app: &App, id: &str, at: i64, secret: &str, body: &str) -> Answer {
    let signature = SigningKey::parse(secret).unwrap().sign(id, at, body.as_bytes());
    let call = app.call(poem::http::Method::POST, PATH).text("application/json", body);
    call.header("webhook-id", id)
        .header("webhook-timestamp", &at.to_string())
        .header("webhook-signature", &signature)
        .send()
        .await
}

fn event(reference: Value) -> String {
    json!({ "id": "evt_1", "type": "payment.captured", "data": { "reference": reference, "amount": "1.00" } })
        .to_string()
}

#[tokio::test]
async fn an_event_is_stored_once_and_handled_by_one_job() {
    let app = App::start().await;
    let body = event(json!(ORDER));
    let answers = join_all((0..5).map(|_| send(&app, "evt_1", now(), SECRET, &body))).await;
    for answer in answers {
        assert_eq!(answer.expect(200), json!({ "received": true }));
    }
    send(&app, "evt_2", now() - 290, SECRET, &event(json!("not ours"))).await.expect(200);
    send(&app, "evt_3", now(), SECRET, r#"{"type":"ping"}"#).await.expect(200);
    assert_eq!(app.db.count("select count(*) as n from gateway_events").await, 3);
    let jobs = enqueued::<HandleGatewayEvent>(app.db.pool()).await;
    let jobs: Vec<_> =
        jobs.iter().map(|job| (job.event_id.as_str(), job.order_id.map(|id| id.to_string()))).collect();
    assert_eq!(jobs, [("evt_1", Some(ORDER.to_owned())), ("evt_2", None), ("evt_3", None)]);
    let raw = "select count(*) as n from gateway_events where event_id = 'evt_1' and payload->'data'->>'amount' = '1.00'
               and kind = 'payment.captured'";
    assert_eq!(app.db.count(raw).await, 1);
}

#[tokio::test]
async fn what_is_not_signed_as_it_should_be_is_not_believed() {
    let app = App::start().await;
    let body = event(json!(ORDER));
    send(&app, "evt_1", now(), "another-secret", &body).await.problem(401, "unauthenticated");
    send(&app, "evt_1", now() - 301, SECRET, &body).await.problem(401, "unauthenticated");
    send(&app, "evt_1", now() + 310, SECRET, &body).await.problem(401, "unauthenticated");
    let post = |path: &str| app.call(poem::http::Method::POST, path).text("application/json", &body);
    post(PATH).send().await.problem(401, "unauthenticated");
    let signature = SigningKey::parse(SECRET).unwrap().sign("evt_1", now(), body.as_bytes());
    // Signed under another id.
    let other = post(PATH).header("webhook-id", "evt_2").header("webhook-timestamp", &now().to_string());
    other.header("webhook-signature", &signature).send().await.problem(401, "unauthenticated");
    post("/v1/gateways/stripe/webhooks").send().await.problem(404, "not_found");
    send(&app, "evt_1", now(), SECRET, "not json").await.problem(400, "malformed");
    send(&app, "evt_1", now(), SECRET, "{}").await.problem(400, "malformed");
    assert_eq!(app.db.count("select count(*) as n from gateway_events").await, 0);
    assert_eq!(app.db.count("select count(*) as n from jobs").await, 0);
}
