//! Endpoints that answer nothing for days, by a clock that the test sets.

use std::sync::atomic::{AtomicI64, AtomicU16, Ordering};

use chrono::{DateTime, TimeDelta};
use waybill_schema::webhooks::endpoints::EndpointRow;

use super::*;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// A deliverer whose clock stands still until it is told to go on, and a receiver that answers as it is told.
struct Days {
    setup: Setup,
    deliverer: Arc<Deliverer>,
    seconds: Arc<AtomicI64>,
    answer: Arc<AtomicU16>,
    endpoint: Uuid,
    began: DateTime<Utc>,
}

impl Days {
    async fn new(settings: &[(&str, &str)]) -> Self {
        let setup = Setup::new(&[&LOCAL[..], settings].concat()).await;
        let answer = Arc::new(AtomicU16::new(500));
        let answers = Arc::clone(&answer);
        let (url, _) = receiver(move || {
            let code = answers.load(Ordering::Relaxed);
            async move { status(code) }
        })
        .await;
        let endpoint = setup.endpoint(&url, &[]).await;
        let seconds = Arc::new(AtomicI64::new(0));
        // As the database keeps it.
        let began = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut deliverer = deliverer(&setup.services).unwrap();
        deliverer.clock = {
            let seconds = Arc::clone(&seconds);
            Arc::new(move || began + TimeDelta::seconds(seconds.load(Ordering::Relaxed)))
        };
        Self { setup, deliverer: Arc::new(deliverer), seconds, answer, endpoint, began }
    }

    fn at(&self, seconds: i64) -> DateTime<Utc> {
        self.began + TimeDelta::seconds(seconds)
    }

    /// An event of its own is delivered `seconds` after the beginning, and answered with `code`.
    async fn attempt(&self, seconds: i64, code: u16) -> Outcome {
        self.seconds.store(seconds, Ordering::Relaxed);
        self.answer.store(code, Ordering::Relaxed);
        self.setup.db.execute("delete from jobs; delete from webhook_deliveries").await;
        Webhooks.apply(&[event("order.confirmed")], &mut *self.setup.db.conn().await).await.unwrap();
        let job_id = self.setup.db.text("select id from jobs").await.parse().unwrap();
        let delivery_id = self.setup.db.text("select id from webhook_deliveries").await.parse().unwrap();
        let context = self.setup.db.claim(job_id).await;
        Arc::clone(&self.deliverer)
            .run(DeliverWebhook { delivery_id, endpoint_id: None }, context)
            .await
            .unwrap()
    }

    async fn row(&self) -> EndpointRow {
        endpoints::find(&mut *self.setup.db.conn().await, self.endpoint).await.unwrap().unwrap()
    }

    async fn told(&self) -> String {
        self.setup.db.text("select count(*) from outbox where topic = 'webhook_endpoint.disabled'").await
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_for_days_is_disabled_once_and_may_be_enabled() {
    let days = Days::new(&[]).await;
    for hours in [0, 1, 40, 119] {
        let outcome = days.attempt(hours * HOUR, 500).await;
        assert!(matches!(outcome, Outcome::RetryIn { .. }), "{outcome:?}");
        let row = days.row().await;
        assert_eq!((row.active, row.failing_since, row.disabled_at), (true, Some(days.at(0)), None));
    }
    days.attempt(5 * DAY, 503).await;
    let row = days.row().await;
    assert_eq!((row.active, row.failing_since), (false, Some(days.at(0))));
    assert_eq!(row.disabled_at, Some(days.at(5 * DAY)));
    assert_eq!(row.disabled_reason.as_deref(), Some("every attempt failed for 5 days"));
    let payload = "select payload from outbox where topic = 'webhook_endpoint.disabled'";
    let event: Value = serde_json::from_str(&days.setup.db.text(payload).await).unwrap();
    assert_eq!(event["endpoint_id"], days.endpoint.to_string());
    assert_eq!(
        (&event["reason"], event["failing_since"].is_string()),
        (&json!("every attempt failed for 5 days"), true)
    );

    // What is still under way is given up, not sent, and says nothing more.
    days.setup.db.execute("update webhook_deliveries set status = 'queued'").await;
    let delivery_id = days.setup.db.text("select id from webhook_deliveries").await.parse().unwrap();
    let context = days.setup.db.claim(days.setup.db.text("select id from jobs").await.parse().unwrap()).await;
    let outcome = Arc::clone(&days.deliverer)
        .run(DeliverWebhook { delivery_id, endpoint_id: None }, context)
        .await
        .unwrap();
    assert!(matches!(outcome, Outcome::Discard(_)), "{outcome:?}");
    assert_eq!(days.told().await, "1");

    let enable = endpoints::Change { active: Some(true), ..Default::default() };
    let row =
        endpoints::update(&mut *days.setup.db.conn().await, days.endpoint, &enable).await.unwrap().unwrap();
    assert_eq!(
        (row.active, row.failing_since, row.disabled_at, row.disabled_reason),
        (true, None, None, None)
    );
    days.attempt(6 * DAY, 500).await;
    let row = days.row().await;
    assert_eq!((row.active, row.failing_since), (true, Some(days.at(6 * DAY))), "the count begins anew");
}

#[tokio::test]
async fn one_success_or_a_long_silence_begins_anew() {
    let days = Days::new(&[("WAYBILL_WEBHOOKS__DISABLE_AFTER", "2d")]).await;
    days.attempt(0, 500).await;
    days.attempt(DAY, 500).await;
    days.attempt(DAY + HOUR, 204).await;
    assert_eq!(days.row().await.failing_since, None);
    days.attempt(2 * DAY, 500).await;
    days.attempt(3 * DAY, 500).await;
    let row = days.row().await;
    assert_eq!((row.active, row.failing_since), (true, Some(days.at(2 * DAY))));
    // Nothing was sent for a month: that it fails again says nothing of the time between.
    days.attempt(33 * DAY, 500).await;
    let row = days.row().await;
    assert_eq!((row.active, row.failing_since), (true, Some(days.at(33 * DAY))));
    days.attempt(34 * DAY, 500).await;
    days.attempt(35 * DAY, 500).await;
    let row = days.row().await;
    assert_eq!(
        (row.active, row.disabled_reason.as_deref()),
        (false, Some("every attempt failed for 2 days"))
    );
    assert_eq!(days.told().await, "1");
}

#[tokio::test]
async fn with_zero_nothing_is_disabled_but_what_says_that_it_is_gone() {
    let days = Days::new(&[("WAYBILL_WEBHOOKS__DISABLE_AFTER", "0s")]).await;
    for day in [0, 1, 40] {
        days.attempt(day * DAY, 500).await;
    }
    let row = days.row().await;
    assert_eq!((row.active, row.failing_since), (true, Some(days.at(0))));
    days.attempt(41 * DAY, 410).await;
    let row = days.row().await;
    assert_eq!(row.disabled_reason.as_deref(), Some("the receiver answered 410: it is gone"));
    assert_eq!((row.active, row.disabled_at), (false, Some(days.at(41 * DAY))));
    let since = "select payload ->> 'failing_since' from outbox where topic = 'webhook_endpoint.disabled'";
    assert_eq!(days.setup.db.text(since).await, "");
}

#[tokio::test]
async fn another_address_is_another_receiver() {
    let days = Days::new(&[]).await;
    days.attempt(0, 500).await;
    let same = endpoints::Change { url: Some(days.row().await.url), ..Default::default() };
    endpoints::update(&mut *days.setup.db.conn().await, days.endpoint, &same).await.unwrap();
    assert_eq!(days.row().await.failing_since, Some(days.at(0)));
    let moved = endpoints::Change { url: Some("http://127.0.0.1:1/".to_owned()), ..Default::default() };
    endpoints::update(&mut *days.setup.db.conn().await, days.endpoint, &moved).await.unwrap();
    assert_eq!(days.row().await.failing_since, None);
}
