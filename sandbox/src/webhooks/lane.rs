//! One lane: delivers its events one after another, holds back those that are to arrive out of order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::ids::AuthorizationId;
use crate::webhooks::dispatcher::add;
use crate::webhooks::{Delivery, Event, Manner};

/// The wait before the second attempt; it doubles with every further one (8 attempts: 25 s in all).
const FIRST_BACKOFF: Duration = Duration::from_millis(200);

/// Events that one lane holds back at a time.
const MAX_HELD: usize = 1_000;

struct Held {
    until: Instant,
    delivery: Delivery,
}

struct Lane {
    gateway: Arc<Gateway>,
    held: VecDeque<Held>,
    /// Once it fires nothing is waited for any more: each event left is tried once.
    closing: CancellationToken,
}

/// Delivers what comes from `queue` until `closing` fires and the queue is empty.
pub(crate) async fn run(
    gateway: Arc<Gateway>,
    mut queue: mpsc::Receiver<Delivery>,
    closing: CancellationToken,
) {
    let mut lane = Lane { gateway, held: VecDeque::new(), closing: closing.clone() };
    loop {
        let first_held = lane.held.iter().map(|held| held.until).min();
        tokio::select! {
            biased;
            () = sleep_until(first_held) => lane.release(|held| held.until <= Instant::now()).await,
            next = queue.recv() => match next {
                Some(delivery) => lane.take(delivery).await,
                None => break,
            },
            () = closing.cancelled() => break,
        }
    }
    lane.release(|_| true).await;
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

impl Lane {
    async fn take(&mut self, delivery: Delivery) {
        let authorization: AuthorizationId = delivery.event.authorization;
        match delivery.manner {
            Manner::AfterNext(wait) if self.held.len() < MAX_HELD => {
                add(&self.gateway.webhooks.counts.reordered);
                self.held.push_back(Held { until: Instant::now() + wait, delivery });
                return;
            }
            _ => self.deliver(delivery).await,
        }
        self.release(|held| held.delivery.event.authorization == authorization).await;
    }

    async fn release(&mut self, due: impl Fn(&Held) -> bool) {
        let (now, later) = std::mem::take(&mut self.held).into_iter().partition(due);
        self.held = later;
        let now: VecDeque<Held> = now;
        for held in now {
            self.deliver(held.delivery).await;
        }
    }

    async fn deliver(&self, delivery: Delivery) {
        let webhooks = &self.gateway.webhooks;
        if self.gateway.written(delivery.position).await.is_ok() {
            self.send(&delivery.event).await;
            if delivery.manner == Manner::Twice {
                add(&webhooks.counts.duplicated);
                self.send(&delivery.event).await;
            }
        }
        webhooks.done();
    }

    async fn send(&self, event: &Event) {
        let webhooks = &self.gateway.webhooks;
        for attempt in 1..=webhooks.attempts {
            add(&webhooks.counts.attempts);
            match self.post(event).await {
                Ok(()) => {
                    add(&webhooks.counts.delivered);
                    return;
                }
                Err(error) => {
                    tracing::debug!(event = %event.id, attempt, error, "webhook attempt failed");
                    webhooks.note_error(error);
                }
            }
            if attempt == webhooks.attempts || self.closing.is_cancelled() {
                break;
            }
            // Between half and all of the step, so that lanes do not beat in time on a receiver that recovers.
            let step = FIRST_BACKOFF * 2_u32.saturating_pow(attempt.min(12) - 1);
            tokio::select! {
                () = tokio::time::sleep(step.mul_f64(rand::random_range(0.5..=1.0))) => {}
                () = self.closing.cancelled() => {}
            }
        }
        add(&webhooks.counts.failed);
        tracing::warn!(event = %event.id, "webhook given up");
    }

    async fn post(&self, event: &Event) -> Result<(), String> {
        let Some(target) = self.gateway.webhooks.target() else {
            return Err("no webhook URL is set".to_owned());
        };
        let (id, timestamp) = (event.id.to_string(), Utc::now().timestamp());
        let response = target
            .client
            .post(target.url.clone())
            .header("content-type", "application/json")
            .header("webhook-signature", target.secret.sign(&id, timestamp, &event.body))
            .header("webhook-timestamp", timestamp)
            .header("webhook-id", id)
            .body(event.body.clone())
            .send()
            .await
            .map_err(|error| describe(&error))?;
        let status = response.status();
        // The connection is only used again if the answer was read; more than a receipt is not worth reading.
        if response.content_length().is_none_or(|length| length <= 16 << 10) {
            let _ = response.bytes().await;
        }
        if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
    }
}

/// The sort of failure, without the URL (it may carry credentials).
fn describe(error: &reqwest::Error) -> String {
    let sort = if error.is_timeout() {
        "timed out"
    } else if error.is_connect() {
        "cannot connect"
    } else {
        "no answer"
    };
    sort.to_owned()
}
