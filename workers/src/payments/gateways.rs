//! The gateways by name, each behind its timeout, its breaker and its metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use waybill_jobs::trace;
use waybill_platform::config::PaymentsConfig;
use waybill_schema::system::outages;

use super::gateway::{Answer, EventError, Fact, Gateway, GatewayError, Operation, Request};
use super::sandbox::Sandbox;
use crate::outages::{BreakerSettings, Caller, Dependency};

/// The name of a question in metrics.
const LOOKUP: &str = "lookup";

/// Why a gateway cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum GatewaysError {
    /// Its HTTP client.
    #[error("http client of the payment gateway: {0}")]
    Http(#[from] reqwest::Error),
}

/// Every gateway by name. Clones share the breakers.
#[derive(Clone, Default)]
pub struct Gateways {
    by_name: BTreeMap<&'static str, GatewayHandle>,
}

/// One gateway. Calls through it are timed, counted, and refused while it is down, to all but the job that tries.
#[derive(Clone)]
pub struct GatewayHandle {
    gateway: Arc<dyn Gateway>,
    dependency: Dependency,
    timeout: Duration,
}

impl Gateways {
    /// The gateways of the configuration.
    pub fn from_config(config: &PaymentsConfig) -> Result<Self, GatewaysError> {
        let settings = BreakerSettings {
            failures: config.sandbox.breaker_failures,
            open_for: config.sandbox.breaker_open_for,
        };
        Ok(Self::default().with(Sandbox::new(&config.sandbox)?, settings, config.sandbox.timeout))
    }

    /// Adds a gateway under its name.
    #[must_use]
    pub fn with(mut self, gateway: impl Gateway, breaker: BreakerSettings, timeout: Duration) -> Self {
        let name = gateway.name();
        let dependency = Dependency::new(outages::gateway(name), breaker, timeout);
        let handle = GatewayHandle { gateway: Arc::new(gateway), dependency, timeout };
        self.by_name.insert(name, handle);
        self
    }

    /// The gateway of this name.
    pub fn get(&self, name: &str) -> Option<&GatewayHandle> {
        self.by_name.get(name)
    }
}

impl GatewayHandle {
    /// Asks for an effect under an idempotency key.
    pub async fn call(
        &self,
        caller: Caller<'_>,
        key: &str,
        request: &Request,
    ) -> Result<Answer, GatewayError> {
        let gateway = &self.gateway;
        let call = async {
            match request {
                Request::Authorize(request) => gateway.authorize(key, request).await,
                Request::Capture(request) => gateway.capture(key, request).await,
                Request::Void(request) => gateway.void(key, request).await,
                Request::Refund(request) => gateway.refund(key, request).await,
            }
        };
        self.guarded(caller, request.operation().as_str(), call).await
    }

    /// Asks what became of the request with this key.
    pub async fn lookup(
        &self,
        caller: Caller<'_>,
        key: &str,
        operation: Operation,
    ) -> Result<Option<Answer>, GatewayError> {
        self.guarded(caller, LOOKUP, self.gateway.lookup(key, operation)).await
    }

    /// Reads one of its webhooks.
    pub fn read_event(&self, payload: &Value) -> Result<Fact, EventError> {
        self.gateway.read_event(payload)
    }

    /// As what jobs wait for while it is down.
    pub const fn dependency(&self) -> &Dependency {
        &self.dependency
    }

    /// After this long without an answer a request is either decided or will not be.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    async fn guarded<T: Labelled>(
        &self,
        caller: Caller<'_>,
        operation: &'static str,
        call: impl Future<Output = Result<T, GatewayError>>,
    ) -> Result<T, GatewayError> {
        let name = self.gateway.name();
        let leave = self.dependency.enter(caller).await.map_err(|retry_after| {
            count(name, operation, "refused_by_breaker");
            let message = "it is down, and others try whether it is up again".to_owned();
            GatewayError::Unavailable { message, retry_after: Some(retry_after) }
        })?;
        let began = Instant::now();
        let span = tracing::info_span!("gateway", otel.kind = "client", gateway = name, operation);
        let result = match tokio::time::timeout(self.timeout, trace::step(span, call)).await {
            Ok(result) => result,
            Err(_) => Err(GatewayError::Unknown(format!("nothing within {:?}", self.timeout))),
        };
        match &result {
            Ok(_) if operation == LOOKUP => leave.heard(),
            Ok(_) => leave.answered().await,
            // One that asks to be left alone is alive.
            Err(GatewayError::Unavailable { retry_after: Some(rest), .. }) => leave.busy(*rest).await,
            Err(error) => leave.failed(&error.to_string()).await,
        }
        let outcome = match &result {
            Ok(answer) => answer.label(),
            Err(GatewayError::Unknown(_)) => "unknown",
            Err(GatewayError::Unavailable { .. }) => "unavailable",
        };
        count(name, operation, outcome);
        metrics::histogram!("waybill_gateway_request_seconds", "gateway" => name, "operation" => operation)
            .record(began.elapsed());
        metrics::gauge!("waybill_gateway_breaker_open", "gateway" => name)
            .set(f64::from(u8::from(self.dependency.is_open())));
        if let Err(error) = &result {
            tracing::warn!(gateway = name, operation, %error, "gateway call without an answer");
        }
        result
    }
}

fn count(gateway: &'static str, operation: &'static str, outcome: &'static str) {
    metrics::counter!("waybill_gateway_requests_total",
        "gateway" => gateway, "operation" => operation, "outcome" => outcome)
    .increment(1);
}

/// What an answer is called in metrics.
trait Labelled {
    fn label(&self) -> &'static str;
}

impl Labelled for Answer {
    fn label(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "succeeded",
            Self::Declined { .. } => "declined",
            Self::Rejected { .. } | Self::NeverArrived => "rejected",
        }
    }
}

impl Labelled for Option<Answer> {
    fn label(&self) -> &'static str {
        self.as_ref().map_or("not_found", Labelled::label)
    }
}
