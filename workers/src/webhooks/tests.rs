#![allow(clippy::unwrap_used, clippy::panic)]

mod health;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::Utc;
use poem::{
    Endpoint, EndpointExt, IntoResponse, Request, Response, Server,
    endpoint::make,
    http::{HeaderMap, StatusCode},
    listener::{Acceptor, Listener, TcpListener},
};
use serde_json::{Value, json};
use uuid::Uuid;
use waybill_jobs::{EventEnvelope, JobContext, JobResult, Outcome, Pipeline, kinds::DeliverWebhook};
use waybill_platform::signature::SigningKey;
use waybill_schema::{
    new_id,
    webhooks::{endpoints, secret_purpose},
};

use super::{Deliverer, Webhooks, deliverer};
use crate::{Services, testing::TestDatabase};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// What makes a listener of this host acceptable.
const LOCAL: [(&str, &str); 2] =
    [("WAYBILL_WEBHOOKS__ALLOW_PRIVATE_ADDRESSES", "true"), ("WAYBILL_WEBHOOKS__REQUIRE_HTTPS", "false")];

struct Setup {
    db: TestDatabase,
    services: Services,
    deliverer: Arc<Deliverer>,
}

impl Setup {
    async fn new(settings: &[(&str, &str)]) -> Self {
        let db = TestDatabase::new().await;
        let services = db.services(settings);
        let deliverer = Arc::new(deliverer(&services).unwrap());
        Self { db, services, deliverer }
    }

    async fn endpoint(&self, url: &str, event_types: &[&str]) -> Uuid {
        let id = new_id();
        let sealed = self.services.vault.seal(SECRET.as_bytes(), &secret_purpose(id)).unwrap();
        let types: Vec<String> = event_types.iter().map(|t| (*t).to_owned()).collect();
        endpoints::create(&mut *self.db.conn().await, id, url, "", &types, &sealed, None).await.unwrap();
        id
    }

    /// Hands an event to the pipeline and claims the one job that it causes.
    async fn claimed(&self) -> (DeliverWebhook, JobContext) {
        Webhooks.apply(&[event("order.confirmed")], &mut *self.db.conn().await).await.unwrap();
        let job_id: Uuid = self.db.text("select id from jobs").await.parse().unwrap();
        let delivery_id = self.db.text("select payload->>'delivery_id' from jobs").await.parse().unwrap();
        (DeliverWebhook { delivery_id, endpoint_id: None }, self.db.claim(job_id).await)
    }

    async fn run(&self, job: &DeliverWebhook, context: &JobContext) -> JobResult {
        Arc::clone(&self.deliverer).run(job.clone(), context.clone()).await
    }
}

fn event(topic: &str) -> EventEnvelope {
    EventEnvelope {
        id: new_id(),
        topic: topic.to_owned(),
        version: 1,
        aggregate: "order".to_owned(),
        aggregate_id: new_id(),
        created_at: Utc::now(),
        correlation_id: Some(new_id()),
        causation_id: None,
        traceparent: None,
        payload: json!({ "number": 100_001 }),
    }
}

type Received = Arc<Mutex<Vec<(HeaderMap, String)>>>;

/// A receiver that answers everything with `answer` and keeps what it got.
async fn receiver<F, Fut>(answer: F) -> (String, Received)
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    let received = Received::default();
    let kept = Arc::clone(&received);
    let app = make(move |mut request: Request| {
        let body = request.take_body();
        let answer = answer();
        let kept = Arc::clone(&kept);
        async move {
            let body = body.into_string().await.unwrap();
            kept.lock().unwrap().push((request.headers().clone(), body));
            answer.await
        }
    });
    (serve(app.boxed()).await, received)
}

async fn serve(app: impl Endpoint + 'static) -> String {
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
    let address = acceptor.local_addr()[0].as_socket_addr().copied().unwrap();
    tokio::spawn(Server::new_with_acceptor(acceptor).run(app));
    format!("http://{address}/hook")
}

fn status(code: u16) -> Response {
    StatusCode::from_u16(code).unwrap().into_response()
}

#[tokio::test]
async fn an_event_goes_once_to_each_endpoint_that_wants_it() {
    let setup = Setup::new(&LOCAL).await;
    let (all, orders) = (
        setup.endpoint("http://a.example/", &[]).await,
        setup.endpoint("http://b.example/", &["order.placed", "order.confirmed"]).await,
    );
    let off = setup.endpoint("http://c.example/", &[]).await;
    setup.db.execute(&format!("update webhook_endpoints set active = false where id = '{off}'")).await;
    let batch = [event("order.confirmed"), event("product.updated")];
    for _ in 0..2 {
        Webhooks.apply(&batch, &mut *setup.db.conn().await).await.unwrap();
    }
    let count =
        |endpoint: Uuid| format!("select count(*) from webhook_deliveries where endpoint_id = '{endpoint}'");
    assert_eq!(setup.db.text(&count(all)).await, "2");
    assert_eq!(setup.db.text(&count(orders)).await, "1");
    assert_eq!(setup.db.text(&count(off)).await, "0");
    assert_eq!(
        setup
            .db
            .text("select count(distinct payload->>'delivery_id') from jobs where kind = 'webhook.deliver'")
            .await,
        "3"
    );
    let caused = format!("select count(*) from jobs where causation_id = '{}'", batch[0].id);
    assert_eq!(setup.db.text(&caused).await, "2");
}

#[tokio::test]
async fn a_delivery_is_signed_logged_and_done_once() {
    let setup = Setup::new(&LOCAL).await;
    let (url, received) =
        receiver(|| async { "thanks".with_status(StatusCode::ACCEPTED).into_response() }).await;
    setup.endpoint(&url, &[]).await;
    let (job, context) = setup.claimed().await;
    let outcome = setup.run(&job, &context).await.unwrap();
    assert!(matches!(&outcome, Outcome::Done(Some(result)) if result["status"] == 202), "{outcome:?}");
    assert!(matches!(setup.run(&job, &context).await.unwrap(), Outcome::Done(None)), "done is done");

    let received = received.lock().unwrap().clone();
    assert_eq!(received.len(), 1);
    let (headers, body) = &received[0];
    let header = |name: &str| headers.get(name).unwrap().to_str().unwrap();
    let parsed: Value = serde_json::from_str(body).unwrap();
    assert_eq!(parsed["type"], "order.confirmed");
    assert_eq!(parsed["data"], json!({ "number": 100_001 }));
    assert_eq!(parsed["version"], 1);
    assert_eq!(parsed["id"], header("webhook-id"));
    assert!(parsed["timestamp"].is_string());
    assert_eq!(header("content-type"), "application/json");
    let now = Utc::now().timestamp();
    let key = SigningKey::parse(SECRET).unwrap();
    key.verify(
        header("webhook-id"),
        header("webhook-timestamp"),
        header("webhook-signature"),
        body.as_bytes(),
        now,
    )
    .unwrap();
    let log = "select concat_ws('|', d.status, d.attempts, a.attempt, a.status, a.body, a.error)
               from webhook_deliveries d join webhook_attempts a on a.delivery_id = d.id
               where d.finished_at is not null";
    assert_eq!(setup.db.text(log).await, "delivered|1|1|202|thanks");
}

#[tokio::test]
async fn failures_follow_the_schedule_to_its_end_and_a_resend_starts_anew() {
    let settings = [LOCAL[0], LOCAL[1], ("WAYBILL_WEBHOOKS__SCHEDULE", "10s,5m")];
    let setup = Setup::new(&settings).await;
    let (url, received) = receiver(|| async { status(500) }).await;
    setup.endpoint(&url, &[]).await;
    let (job, mut context) = setup.claimed().await;
    for (attempt, seconds) in [(1, 10), (2, 300)] {
        context.attempt = attempt;
        match setup.run(&job, &context).await.unwrap() {
            Outcome::RetryIn { after, reason } => {
                assert!(
                    after >= Duration::from_secs(seconds) && after <= Duration::from_secs(seconds * 6 / 5)
                );
                assert_eq!(reason, "answered 500");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(setup.db.text("select status from webhook_deliveries").await, "queued");
    }
    context.attempt = 3;
    let failure = setup.run(&job, &context).await.unwrap_err();
    assert!(!failure.retryable, "{failure:?}");
    assert_eq!(setup.db.text("select status || attempts from webhook_deliveries").await, "failed3");

    assert!(endpoints::requeue(&mut *setup.db.conn().await, job.delivery_id).await.unwrap().is_some());
    context.attempt = 1;
    assert!(matches!(setup.run(&job, &context).await.unwrap(), Outcome::RetryIn { .. }));
    assert_eq!(setup.db.text("select status || attempts from webhook_deliveries").await, "queued4");
    let received = received.lock().unwrap();
    assert_eq!(received.len(), 4);
    assert!(received.iter().all(|(headers, _)| headers["webhook-id"] == received[0].0["webhook-id"]));
}

#[tokio::test]
async fn retry_after_is_honoured_and_gone_deactivates_the_endpoint() {
    let setup = Setup::new(&LOCAL).await;
    let (url, _) =
        receiver(|| async { status(429).with_header("retry-after", "3600").into_response() }).await;
    let endpoint = setup.endpoint(&url, &[]).await;
    let (job, context) = setup.claimed().await;
    match setup.run(&job, &context).await.unwrap() {
        Outcome::RetryIn { after, .. } => assert_eq!(after, Duration::from_hours(1)),
        other => panic!("{other:?}"),
    }

    let (url, received) = receiver(|| async { status(410) }).await;
    let change = endpoints::Change { url: Some(url), ..Default::default() };
    endpoints::update(&mut *setup.db.conn().await, endpoint, &change).await.unwrap();
    assert!(matches!(setup.run(&job, &context).await.unwrap(), Outcome::Discard(_)));
    assert_eq!(
        setup
            .db
            .text("select concat(e.active, d.status) from webhook_endpoints e, webhook_deliveries d")
            .await,
        "ffailed"
    );
    assert!(matches!(setup.run(&job, &context).await.unwrap(), Outcome::Discard(_)), "not called again");
    assert_eq!(received.lock().unwrap().len(), 1);

    setup.db.execute("delete from webhook_endpoints").await;
    assert!(matches!(setup.run(&job, &context).await.unwrap(), Outcome::Discard(_)));
}

#[tokio::test]
async fn redirects_are_not_followed_and_answers_are_read_only_so_far() {
    let setup = Setup::new(&LOCAL).await;
    let (other, not_called) = receiver(|| async { status(200) }).await;
    let (url, _) = receiver(move || {
        let other = other.clone();
        async move {
            "no\0"
                .repeat(100_000)
                .with_status(StatusCode::FOUND)
                .with_header("location", other)
                .into_response()
        }
    })
    .await;
    setup.endpoint(&url, &[]).await;
    let (job, context) = setup.claimed().await;
    let outcome = setup.run(&job, &context).await.unwrap();
    assert!(matches!(&outcome, Outcome::RetryIn { reason, .. } if reason == "answered 302"), "{outcome:?}");
    assert_eq!(not_called.lock().unwrap().len(), 0);
    assert_eq!(setup.db.text("select length(body) from webhook_attempts").await, "1000");
}

#[tokio::test]
async fn private_addresses_are_refused_however_they_are_written() {
    let setup = Setup::new(&[LOCAL[1]]).await;
    let (url, received) = receiver(|| async { status(200) }).await;
    let by_name = url.replace("127.0.0.1", "localhost");
    let endpoint = setup.endpoint(&url, &[]).await;
    let (job, context) = setup.claimed().await;
    for url in [url, by_name, "ftp://example.com/".to_owned()] {
        let change = endpoints::Change { url: Some(url.clone()), ..Default::default() };
        endpoints::update(&mut *setup.db.conn().await, endpoint, &change).await.unwrap();
        let outcome = setup.run(&job, &context).await.unwrap();
        let refused =
            |reason: &str| reason.contains("is not a public address") || reason.contains("must be https");
        assert!(matches!(&outcome, Outcome::RetryIn { reason, .. } if refused(reason)), "{url}: {outcome:?}");
    }
    assert_eq!(received.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_dead_receiver_and_a_silent_one_are_told_apart() {
    let settings = [LOCAL[0], LOCAL[1], ("WAYBILL_WEBHOOKS__TIMEOUT", "300ms")];
    let setup = Setup::new(&settings).await;
    let (silent, _) = receiver(std::future::pending).await;
    let endpoint = setup.endpoint(&silent, &[]).await;
    let (job, context) = setup.claimed().await;
    let outcome = setup.run(&job, &context).await.unwrap();
    assert!(
        matches!(&outcome, Outcome::RetryIn { reason, .. } if reason == "no answer within 300ms"),
        "{outcome:?}"
    );

    let change = endpoints::Change { url: Some("http://127.0.0.1:1/".to_owned()), ..Default::default() };
    endpoints::update(&mut *setup.db.conn().await, endpoint, &change).await.unwrap();
    let outcome = setup.run(&job, &context).await.unwrap();
    assert!(
        matches!(&outcome, Outcome::RetryIn { reason, .. } if reason.starts_with("no connection")),
        "{outcome:?}"
    );
    assert_eq!(
        setup.db.text("select count(*) from webhook_attempts where status is null and body is null").await,
        "2"
    );
}

#[tokio::test]
async fn a_slow_receiver_keeps_only_its_own_deliveries_waiting() {
    let settings = [LOCAL[0], LOCAL[1], ("WAYBILL_WEBHOOKS__MAX_PER_ENDPOINT", "1")];
    let setup = Setup::new(&settings).await;
    let (slow, called) = receiver(std::future::pending).await;
    setup.endpoint(&slow, &[]).await;
    let (job, context) = setup.claimed().await;
    let first = tokio::spawn(Arc::clone(&setup.deliverer).run(job.clone(), context.clone()));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while called.lock().unwrap().is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "the receiver was not called");
        tokio::task::yield_now().await;
    }
    let second = setup.run(&job, &context).await.unwrap();
    assert!(
        matches!(&second, Outcome::Snooze { after, .. } if *after < Duration::from_secs(1)),
        "{second:?}"
    );
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(setup.db.text("select count(*) from webhook_attempts").await, "0");
    assert!(setup.deliverer.limits.take(endpoint_of(&setup).await).is_some(), "the place is free again");
}

async fn endpoint_of(setup: &Setup) -> Uuid {
    setup.db.text("select endpoint_id from webhook_deliveries").await.parse().unwrap()
}
