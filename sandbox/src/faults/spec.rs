//! What a scripted fault is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::faults::{Stage, Target};
use crate::model::{Operation, Token};
use crate::refusal::Refusal;

/// The longest `delay_ms`: ten minutes.
const MAX_DELAY_MS: u64 = 600_000;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The operation is declined (402) with `decline_code`, by default `card_declined`.
    Decline,
    /// The request hangs without effect for `delay_ms` (by default 60 s) or until the client goes.
    Timeout,
    /// The request is answered 500 without effect; its idempotency key stays free.
    #[serde(rename = "error_500")]
    Error500,
    /// The operation takes effect, then the connection closes without an answer, after `delay_ms` (by default at once).
    LostAnswer,
    /// The operation takes effect and is answered after `delay_ms` (by default 1 s).
    Delay,
    /// The request is answered 429 without effect, with `Retry-After` of `delay_ms` rounded up (by default 1 s).
    RateLimit,
    /// The operation's webhook is sent twice with one id.
    DuplicateWebhook,
    /// The operation's webhook waits for the authorization's next one, at most `delay_ms` (by default 2 s).
    OutOfOrderWebhook,
    /// The operation's webhook is never sent.
    DropWebhook,
}

impl FaultKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Decline,
        Self::Timeout,
        Self::Error500,
        Self::LostAnswer,
        Self::Delay,
        Self::RateLimit,
        Self::DuplicateWebhook,
        Self::OutOfOrderWebhook,
        Self::DropWebhook,
    ];

    /// The name used in requests and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decline => "decline",
            Self::Timeout => "timeout",
            Self::Error500 => "error_500",
            Self::LostAnswer => "lost_answer",
            Self::Delay => "delay",
            Self::RateLimit => "rate_limit",
            Self::DuplicateWebhook => "duplicate_webhook",
            Self::OutOfOrderWebhook => "out_of_order_webhook",
            Self::DropWebhook => "drop_webhook",
        }
    }

    pub(super) fn strikes(self, stage: Stage) -> bool {
        let webhook = matches!(self, Self::DuplicateWebhook | Self::OutOfOrderWebhook | Self::DropWebhook);
        match stage {
            Stage::Fresh => !webhook,
            Stage::Replay => !webhook && self != Self::Decline,
            Stage::Webhook => webhook,
        }
    }

    pub(super) fn default_delay(self) -> Duration {
        match self {
            Self::Timeout => Duration::from_mins(1),
            Self::Delay | Self::RateLimit => Duration::from_secs(1),
            Self::OutOfOrderWebhook => Duration::from_secs(2),
            _ => Duration::ZERO,
        }
    }
}

/// One scripted fault: what goes wrong, for which requests, how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// What goes wrong.
    pub fault: FaultKind,
    /// Only for this operation; otherwise for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// Only for payments with this reference; otherwise for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Only for payments authorized with this token; otherwise for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// How often it strikes before it leaves the list; by default once.
    #[serde(default = "once")]
    pub times: u64,
    /// Milliseconds; what they mean is told at the [`FaultKind`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// The reason that a decline gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decline_code: Option<String>,
    /// The chance that a matching request is struck, 0 to 1; by default every one. A request that is spared does not
    /// count towards `times`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
}

fn once() -> u64 {
    1
}

impl FaultSpec {
    /// A fault that strikes the next request, whatever it is.
    pub fn new(fault: FaultKind) -> Self {
        Self {
            fault,
            operation: None,
            reference: None,
            token: None,
            times: once(),
            delay_ms: None,
            decline_code: None,
            probability: None,
        }
    }

    pub(super) fn validate(&self) -> Result<(), Refusal> {
        if self.times == 0 {
            return Err(Refusal::invalid("times", "must be at least 1"));
        }
        if self.delay_ms.is_some_and(|delay| delay > MAX_DELAY_MS) {
            return Err(Refusal::invalid("delay_ms", format!("must be at most {MAX_DELAY_MS}")));
        }
        if self.probability.is_some_and(|chance| !(0.0..=1.0).contains(&chance)) {
            return Err(Refusal::invalid("probability", "must be between 0 and 1"));
        }
        if self.decline_code.as_ref().is_some_and(|code| code.is_empty() || code.len() > 64) {
            return Err(Refusal::invalid("decline_code", "must have 1 to 64 characters"));
        }
        Ok(())
    }

    pub(super) fn matches(&self, target: &Target<'_>) -> bool {
        self.operation.is_none_or(|operation| operation == target.operation)
            && self.reference.as_deref().is_none_or(|reference| reference == target.reference)
            && self.token.is_none_or(|token| token == target.token)
    }
}
