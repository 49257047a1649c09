//! What the gateway keeps: the commands it takes, the objects they make, and the records that say what was done.

use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ids::{AuthorizationId, CaptureId, RefundId, VoidId};
use crate::money::{Currency, Money};

/// What a client asks of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Hold money on a card.
    Authorize,
    /// Take held money.
    Capture,
    /// Let held money go.
    Void,
    /// Give taken money back.
    Refund,
}

impl Operation {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Authorize, Self::Capture, Self::Void, Self::Refund];

    /// The name used in requests, answers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
        }
    }
}

/// A payment method of the sandbox. It stands for a card; what it does is in its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Token {
    /// Accepted.
    #[serde(rename = "tok_visa")]
    Visa,
    /// Accepted.
    #[serde(rename = "tok_mastercard")]
    Mastercard,
    /// Declined with `card_declined`.
    #[serde(rename = "tok_declined")]
    Declined,
    /// Declined with `insufficient_funds`.
    #[serde(rename = "tok_insufficient_funds")]
    InsufficientFunds,
    /// Declined with `expired_card`.
    #[serde(rename = "tok_expired")]
    Expired,
    /// Accepted, but the connection closes before the answer to the first request of each idempotency key.
    #[serde(rename = "tok_lost_answer_once")]
    LostAnswerOnce,
    /// The first request of each idempotency key hangs without effect; then accepted.
    #[serde(rename = "tok_timeout_once")]
    TimeoutOnce,
    /// The first request of each idempotency key gets a 500 without effect; then accepted.
    #[serde(rename = "tok_error_once")]
    ErrorOnce,
}

impl Token {
    /// Why this card is declined; `None` if it is good.
    pub(crate) fn decline_code(self) -> Option<&'static str> {
        match self {
            Self::Declined => Some("card_declined"),
            Self::InsufficientFunds => Some("insufficient_funds"),
            Self::Expired => Some("expired_card"),
            Self::Visa | Self::Mastercard | Self::LostAnswerOnce | Self::TimeoutOnce | Self::ErrorOnce => {
                None
            }
        }
    }
}

/// The text names no payment method of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such payment method token in the sandbox")]
pub struct UnknownToken;

impl FromStr for Token {
    type Err = UnknownToken;

    fn from_str(text: &str) -> Result<Self, UnknownToken> {
        Ok(match text {
            "tok_visa" => Self::Visa,
            "tok_mastercard" => Self::Mastercard,
            "tok_declined" => Self::Declined,
            "tok_insufficient_funds" => Self::InsufficientFunds,
            "tok_expired" => Self::Expired,
            "tok_lost_answer_once" => Self::LostAnswerOnce,
            "tok_timeout_once" => Self::TimeoutOnce,
            "tok_error_once" => Self::ErrorOnce,
            _ => return Err(UnknownToken),
        })
    }
}

/// A request that parsed. Two requests with one idempotency key are the same if their commands are equal, whatever the
/// order of fields or the trailing zeros of the amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    Authorize { money: Money, token: Token, reference: Arc<str> },
    Capture { authorization: AuthorizationId, money: Money },
    Void { authorization: AuthorizationId },
    Refund { capture: CaptureId, money: Money },
}

impl Command {
    pub(crate) fn operation(&self) -> Operation {
        match self {
            Self::Authorize { .. } => Operation::Authorize,
            Self::Capture { .. } => Operation::Capture,
            Self::Void { .. } => Operation::Void,
            Self::Refund { .. } => Operation::Refund,
        }
    }
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Authorized {
        id: AuthorizationId,
    },
    Declined {
        id: AuthorizationId,
        decline_code: Arc<str>,
    },
    Captured {
        id: CaptureId,
    },
    Voided {
        id: VoidId,
    },
    Refunded {
        id: RefundId,
    },
    /// Decided, with no effect: the answer says why.
    Refused,
}

/// One decided command: enough to make the same state again, and to give the same answer again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) at: DateTime<Utc>,
    pub(crate) key: Arc<str>,
    pub(crate) command: Command,
    pub(crate) outcome: Outcome,
    pub(crate) status_code: u16,
    pub(crate) response: Arc<RawValue>,
}

/// Money held on a card, as clients see it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Authorization {
    pub(crate) id: AuthorizationId,
    pub(crate) status: AuthorizationStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decline_code: Option<Arc<str>>,
    #[serde(flatten)]
    pub(crate) money: Money,
    pub(crate) reference: Arc<str>,
    #[serde(with = "rust_decimal::serde::str")]
    pub(crate) captured: Decimal,
    #[serde(with = "rust_decimal::serde::str")]
    pub(crate) refunded: Decimal,
    pub(crate) voided: bool,
    pub(crate) created_at: DateTime<Utc>,
    #[serde(skip)]
    pub(crate) token: Token,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AuthorizationStatus {
    Authorized,
    Declined,
}

/// What is remembered of a capture: how much of it may still be refunded.
#[derive(Debug, Clone)]
pub(crate) struct Capture {
    pub(crate) authorization: AuthorizationId,
    pub(crate) amount: Decimal,
    pub(crate) refunded: Decimal,
}

/// A capture, void or refund, as clients see it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Movement<'a> {
    pub(crate) id: ObjectId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capture_id: Option<CaptureId>,
    pub(crate) authorization_id: AuthorizationId,
    #[serde(flatten)]
    pub(crate) money: Money,
    pub(crate) status: &'static str,
    pub(crate) created_at: DateTime<Utc>,
    /// Only in webhooks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<&'a str>,
}

/// The id of any object that moves money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum ObjectId {
    Authorization(AuthorizationId),
    Capture(CaptureId),
    Void(VoidId),
    Refund(RefundId),
}

/// One line of the ledger.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Entry {
    /// Counts from 1 without gaps.
    pub(crate) seq: u64,
    pub(crate) kind: Operation,
    pub(crate) id: ObjectId,
    pub(crate) authorization_id: AuthorizationId,
    pub(crate) reference: Arc<str>,
    #[serde(with = "rust_decimal::serde::str")]
    pub(crate) amount: Decimal,
    pub(crate) currency: Currency,
    pub(crate) at: DateTime<Utc>,
}

/// The gateway's clock: UTC in milliseconds, so that what is printed is exactly what is kept.
pub(crate) fn now() -> DateTime<Utc> {
    use chrono::SubsecRound;
    Utc::now().trunc_subsecs(3)
}
