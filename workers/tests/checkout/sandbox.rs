//! The sandbox gateway over HTTP, with the faults that it can be told to make.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use waybill_platform::config::SandboxConfig;
use waybill_sandbox::{DEFAULT_API_KEY, Handle, serve};
use waybill_workers::payments::Sandbox;

use crate::fake_gateway::FakeGateway;
use crate::world::{Settings, World};

struct Shop {
    world: World,
    sandbox: Handle,
    http: reqwest::Client,
}

impl Shop {
    async fn open() -> Self {
        let sandbox = serve(waybill_sandbox::Config::default()).await.unwrap();
        let timeout = Duration::from_millis(300);
        let config = SandboxConfig {
            url: sandbox.url().parse().unwrap(),
            api_key: SecretString::from(DEFAULT_API_KEY),
            webhook_secret: SecretString::from("not used by the client"),
            timeout,
            breaker_failures: 1_000,
            breaker_open_for: Duration::from_millis(1),
        };
        let settings = Settings { gateway_timeout: timeout, ..Settings::default() };
        let world = World::at(settings, Sandbox::new(&config).unwrap(), FakeGateway::default()).await;
        Self { world, sandbox, http: waybill_platform::http::client(Duration::from_secs(5)).unwrap() }
    }

    async fn fault(&self, fault: Value) {
        let url = format!("{}/control/faults", self.sandbox.url());
        let answer = self.http.post(url).json(&fault).send().await.unwrap();
        assert_eq!(answer.status(), 201);
    }

    /// Kinds and amounts in the gateway's own ledger, in order.
    async fn ledger(&self) -> Vec<String> {
        let url = format!("{}/v1/ledger", self.sandbox.url());
        let page: Value =
            self.http.get(url).bearer_auth(DEFAULT_API_KEY).send().await.unwrap().json().await.unwrap();
        let entries = page["data"].as_array().unwrap();
        entries
            .iter()
            .map(|e| format!("{} {}", e["kind"].as_str().unwrap(), e["amount"].as_str().unwrap()))
            .collect()
    }

    /// Runs an order paid with `token` to its end; returns its status and the gateway's ledger.
    async fn sell(&self, token: &str) -> (String, String, Vec<String>) {
        let cup = self.world.variant("CUP", "12.34", 3).await;
        let (order, job) = self.world.order_with(token, &[(&cup, 2)]).await;
        let ran = self.world.run_to_end(job, 6).await;
        assert_eq!((ran.outcome, ran.error), ("done", None), "{token}");
        let seen = self.world.seen(order).await;
        (seen.status, seen.reason.unwrap_or_default(), self.ledger().await)
    }
}

#[tokio::test]
async fn a_good_card_is_charged_once() {
    let (status, _, ledger) = Shop::open().await.sell("tok_visa").await;
    assert_eq!(
        (status.as_str(), ledger),
        ("confirmed", vec!["authorize 24.68".into(), "capture 24.68".to_owned()])
    );
}

#[tokio::test]
async fn every_card_that_makes_trouble_once_is_charged_once() {
    for token in ["tok_lost_answer_once", "tok_timeout_once", "tok_error_once"] {
        let (status, _, ledger) = Shop::open().await.sell(token).await;
        assert_eq!(status, "confirmed", "{token}");
        assert_eq!(ledger, ["authorize 24.68", "capture 24.68"], "{token}");
    }
}

#[tokio::test]
async fn the_issuers_reason_reaches_the_order() {
    for (token, reason) in [
        ("tok_declined", "declined: card declined"),
        ("tok_insufficient_funds", "declined: insufficient funds"),
        ("tok_nonsense", "the payment gateway refused: no such payment method token in the sandbox"),
    ] {
        let (status, told, ledger) = Shop::open().await.sell(token).await;
        assert_eq!((status.as_str(), told.as_str()), ("cancelled", reason));
        assert!(ledger.iter().all(|entry| !entry.starts_with("capture")), "{ledger:?}");
    }
}

#[tokio::test]
async fn every_fault_at_the_capture_ends_in_one_capture() {
    for fault in ["lost_answer", "timeout", "error_500", "delay", "rate_limit"] {
        let shop = Shop::open().await;
        shop.fault(json!({ "fault": fault, "operation": "capture", "delay_ms": 400 })).await;
        let (status, _, ledger) = shop.sell("tok_visa").await;
        assert_eq!(status, "confirmed", "{fault}");
        assert_eq!(ledger, ["authorize 24.68", "capture 24.68"], "{fault}");
    }
}

#[tokio::test]
async fn a_capture_that_is_refused_is_voided() {
    let shop = Shop::open().await;
    shop.fault(json!({ "fault": "decline", "operation": "capture" })).await;
    shop.fault(json!({ "fault": "lost_answer", "operation": "void" })).await;
    let (status, _, ledger) = shop.sell("tok_visa").await;
    assert_eq!(status, "cancelled");
    assert_eq!(ledger, ["authorize 24.68", "void 24.68"]);
}

#[tokio::test]
async fn a_gateway_that_is_gone_is_waited_for() {
    let shop = Shop::open().await;
    let address = shop.sandbox.addr();
    let Shop { world, sandbox, .. } = shop;
    sandbox.shutdown().await.unwrap();
    let cup = world.variant("CUP", "12.34", 3).await;
    let (order, job) = world.order(&[(&cup, 2)]).await;
    assert_eq!(world.run(job).await.outcome, "snoozed");
    assert_eq!(world.seen(order).await.reason_code.as_deref(), Some("gateway_unavailable"));
    let config = waybill_sandbox::Config { listen: address, ..waybill_sandbox::Config::default() };
    let _back = serve(config).await.unwrap();
    assert_eq!(world.run_to_end(job, 3).await.outcome, "done");
    assert_eq!(world.seen(order).await.status, "confirmed");
}
