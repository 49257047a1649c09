//! `webhook.deliver`: one event to one endpoint, at least once, with the same `webhook-id` every time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use diesel_async::AsyncConnection;
use reqwest::StatusCode;
use secrecy::ExposeSecret;
use serde_json::json;
use waybill_jobs::{
    Failure, JobContext, JobResult, Outcome, emit, events::EndpointDisabled, kinds::DeliverWebhook, trace,
};
use waybill_platform::{signature::SigningKey, vault::Vault};
use waybill_schema::{
    Conn,
    webhooks::{
        deliveries::{self, Attempt, DeliveryStatus, Due, Recorded},
        secret_purpose,
    },
};

use super::{
    client::{Answer, NoAnswer, Receivers, Request},
    limits::Limits,
    schedule,
};

/// First wait of a delivery whose receiver is busy with others; doubles to [`LONGEST_QUEUE`].
const QUEUE: Duration = Duration::from_millis(250);
const LONGEST_QUEUE: Duration = Duration::from_secs(30);

/// Delivers webhooks.
pub struct Deliverer {
    pub(super) receivers: Receivers,
    pub(super) vault: Vault,
    pub(super) limits: Limits,
    pub(super) schedule: Vec<Duration>,
    /// How long every attempt may fail before an endpoint is disabled; zero for ever.
    pub(super) disable_after: Duration,
    /// What time it is.
    pub(super) clock: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
}

impl Deliverer {
    /// Runs one attempt.
    pub async fn run(self: Arc<Self>, job: DeliverWebhook, context: JobContext) -> JobResult {
        let due = {
            let mut conn = context.pool.get().await?;
            let Some(due) = deliveries::due(&mut conn, job.delivery_id).await? else {
                return Ok(Outcome::Discard("the endpoint was removed".to_owned()));
            };
            if due.status == DeliveryStatus::Delivered {
                return Ok(Outcome::done());
            }
            if !due.active {
                deliveries::give_up(&mut conn, job.delivery_id).await?;
                return Ok(Outcome::Discard("the endpoint is deactivated".to_owned()));
            }
            due
        };
        // A receiver that is slow keeps its own deliveries waiting, not everybody's: no slot is held for them.
        let Some(_permit) = self.limits.take(due.endpoint_id) else {
            let doublings = context.snoozes.clamp(0, 16).unsigned_abs();
            let after = QUEUE.saturating_mul(1 << doublings).min(LONGEST_QUEUE);
            let after = after.mul_f64(0.75 + 0.5 * rand::random::<f64>());
            return Ok(Outcome::Snooze { after, reason: "the endpoint is busy with others".to_owned() });
        };

        let started = Instant::now();
        let answer = self.post(&due).await?;
        let duration_ms = i32::try_from(started.elapsed().as_millis()).unwrap_or(i32::MAX);
        let next = self.judge(&answer, &context);
        self.record(&job, &context, &due.url, &answer, duration_ms, &next).await?;
        metrics::counter!("waybill_webhook_attempts_total", "outcome" => next.label()).increment(1);
        metrics::histogram!("waybill_webhook_attempt_seconds").record(started.elapsed().as_secs_f64());
        match next {
            Next::Delivered(status) => Ok(Outcome::Done(Some(json!({ "status": status.as_u16() })))),
            Next::Gone => Ok(Outcome::Discard("the receiver answered 410: endpoint deactivated".to_owned())),
            Next::Again { after, reason } => Ok(Outcome::RetryIn { after, reason }),
            Next::GivenUp(reason) => Err(Failure::permanent(reason)),
        }
    }

    async fn post(&self, due: &Due) -> Result<Result<Answer, NoAnswer>, Failure> {
        let secret = self
            .vault
            .open(&due.secret, &secret_purpose(due.endpoint_id))
            // While keys are changed another worker may have the one it takes.
            .map_err(|error| Failure::retryable(format!("the endpoint's secret: {error}")))?;
        let key = std::str::from_utf8(secret.expose_secret())
            .ok()
            .and_then(|text| SigningKey::parse(text).ok())
            .ok_or_else(|| Failure::permanent("the endpoint's secret is no signing key"))?;
        let (id, timestamp) = (due.event_id.to_string(), (self.clock)().timestamp());
        let signature = key.sign(&id, timestamp, due.body.as_bytes());
        let request = Request { id, timestamp, signature, body: &due.body };
        let span = tracing::info_span!("webhook", otel.kind = "client", endpoint_id = %due.endpoint_id);
        Ok(trace::step(span, self.receivers.post(&due.url, request)).await)
    }

    fn judge(&self, answer: &Result<Answer, NoAnswer>, context: &JobContext) -> Next {
        let (reason, wish) = match answer {
            Ok(answer) if answer.status.is_success() => return Next::Delivered(answer.status),
            Ok(answer) if answer.status == StatusCode::GONE => return Next::Gone,
            Ok(answer) => (format!("answered {}", answer.status.as_u16()), answer.retry_after),
            Err(error) => (error.to_string(), None),
        };
        let pause = if context.attempt >= context.max_attempts {
            None
        } else {
            schedule::pause(&self.schedule, context.attempt, rand::random(), wish)
        };
        match pause {
            Some(after) => Next::Again { after, reason },
            None => Next::GivenUp(reason),
        }
    }

    async fn record(
        &self,
        job: &DeliverWebhook,
        context: &JobContext,
        url: &str,
        answer: &Result<Answer, NoAnswer>,
        duration_ms: i32,
        next: &Next,
    ) -> Result<(), Failure> {
        let error = match next {
            Next::Delivered(_) => None,
            Next::Gone => Some("answered 410"),
            Next::Again { reason, .. } | Next::GivenUp(reason) => Some(reason.as_str()),
        };
        let attempt = Attempt {
            url,
            status: answer.as_ref().ok().and_then(|answer| i16::try_from(answer.status.as_u16()).ok()),
            duration_ms,
            body: answer.as_ref().ok().map(|answer| answer.excerpt.as_str()),
            error,
            outcome: match next {
                Next::Delivered(_) => DeliveryStatus::Delivered,
                Next::Again { .. } => DeliveryStatus::Queued,
                Next::Gone | Next::GivenUp(_) => DeliveryStatus::Failed,
            },
            endpoint_gone: matches!(next, Next::Gone),
            at: (self.clock)(),
            disable_after: self.disable_after,
        };
        let mut conn = context.pool.get().await?;
        if matches!(next, Next::Delivered(_)) {
            deliveries::record(&mut conn, job.delivery_id, &attempt).await?;
            return Ok(());
        }
        let disabled = (*conn)
            .transaction(async |conn: &mut Conn| {
                let recorded = deliveries::record(conn, job.delivery_id, &attempt).await?;
                let Some(disabled) = recorded.and_then(|recorded| disabled(recorded, &attempt)) else {
                    return Ok(None);
                };
                emit(conn, &disabled, Some(context.id)).await?;
                Ok::<_, Failure>(Some(disabled))
            })
            .await?;
        if let Some(EndpointDisabled { endpoint_id, reason, .. }) = disabled {
            metrics::counter!("waybill_webhook_endpoints_disabled_total").increment(1);
            tracing::error!(%endpoint_id, reason, "a webhook endpoint was disabled");
        }
        Ok(())
    }
}

fn disabled(recorded: Recorded, attempt: &Attempt<'_>) -> Option<EndpointDisabled> {
    Some(EndpointDisabled {
        endpoint_id: recorded.disabled_id?,
        reason: recorded.disabled_reason.unwrap_or_default(),
        failing_since: recorded.failing_since.filter(|_| !attempt.endpoint_gone),
        disabled_at: attempt.at,
    })
}

/// What an attempt means for the delivery.
enum Next {
    Delivered(StatusCode),
    Gone,
    Again { after: Duration, reason: String },
    GivenUp(String),
}

impl Next {
    const fn label(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::Gone => "gone",
            Self::Again { .. } => "again",
            Self::GivenUp(_) => "given_up",
        }
    }
}
