//! What every payment gateway can do.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use waybill_schema::Money;

/// Hold an amount.
#[derive(Clone)]
pub struct Authorize {
    /// How much.
    pub amount: Money,
    /// The gateway's token for the buyer's means of payment.
    pub token: String,
    /// Our name for the payment at the gateway: the order's id. Its webhooks carry it.
    pub reference: String,
}

/// Take what is held.
#[derive(Debug, Clone)]
pub struct Capture {
    /// The gateway's id of what is held.
    pub authorization_ref: String,
    /// How much of it.
    pub amount: Money,
}

/// Let go what is held.
#[derive(Debug, Clone)]
pub struct Void {
    /// The gateway's id of what is held.
    pub authorization_ref: String,
}

/// Give back what was taken.
#[derive(Debug, Clone)]
pub struct Refund {
    /// The gateway's id of what was taken.
    pub capture_ref: String,
    /// How much of it.
    pub amount: Money,
}

/// One of the four.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as their content")]
pub enum Request {
    Authorize(Authorize),
    Capture(Capture),
    Void(Void),
    Refund(Refund),
}

/// The kinds of [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as their requests")]
pub enum Operation {
    Authorize,
    Capture,
    Void,
    Refund,
}

impl Operation {
    /// The name in metrics and in `effects.kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
        }
    }
}

// A token is as good as a card to whoever has our key: it stays out of logs.
impl std::fmt::Debug for Authorize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorize")
            .field("amount", &self.amount)
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// Which of the four.
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Authorize(_) => Operation::Authorize,
            Self::Capture(_) => Operation::Capture,
            Self::Void(_) => Operation::Void,
            Self::Refund(_) => Operation::Refund,
        }
    }

    /// As the effect ledger keeps it, without the token.
    pub fn to_ledger(&self) -> Value {
        match self {
            Self::Authorize(a) => json!({ "amount": a.amount, "reference": a.reference }),
            Self::Capture(c) => json!({ "amount": c.amount, "authorization": c.authorization_ref }),
            Self::Void(v) => json!({ "authorization": v.authorization_ref }),
            Self::Refund(r) => json!({ "amount": r.amount, "capture": r.capture_ref }),
        }
    }
}

/// The code of a refused [`Void`] when there is nothing to let go any more, because it was taken. Adapters translate theirs
/// to it.
pub const ALREADY_CAPTURED: &str = "already_captured";

/// A gateway's final word on a request. It is kept in the effect ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Answer {
    /// Done.
    Succeeded {
        /// The gateway's id of what it did.
        reference: String,
        /// How much it was, when the gateway says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        amount: Option<Money>,
    },
    /// Refused by the issuer: another means of payment may work.
    Declined {
        /// The issuer's code, as `insufficient_funds`.
        code: String,
    },
    /// Refused by the gateway: the request cannot work.
    Rejected {
        /// The gateway's code.
        code: String,
        /// For people.
        message: String,
    },
    /// No request ever came to the gateway. Only we conclude this, when we no longer want the effect.
    NeverArrived,
}

impl Answer {
    /// As the effect ledger keeps it.
    pub fn to_ledger(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Reads it back.
    pub fn from_ledger(value: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(value)
    }
}

/// Why a call has no [`Answer`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// It may have been done: the answer was lost, late or unreadable.
    #[error("no answer: {0}")]
    Unknown(String),
    /// It was surely not done.
    #[error("unavailable: {message}")]
    Unavailable {
        /// Why.
        message: String,
        /// How long the gateway (or the breaker) wants to be left alone.
        retry_after: Option<Duration>,
    },
}

/// Something a gateway told us of its own accord.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// What happened.
    pub kind: FactKind,
    /// The gateway's id of the authorization that it happened to.
    pub authorization_ref: String,
    /// Our reference, when it is an order's id.
    pub order_id: Option<Uuid>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum FactKind {
    /// An amount is held.
    Authorized(Money),
    /// The issuer refused.
    Declined {
        /// Its code.
        code: String,
    },
    /// An amount was taken.
    Captured {
        /// The gateway's id of it.
        capture_ref: String,
        /// How much.
        amount: Money,
    },
    /// What was held is let go.
    Voided,
    /// An amount went back.
    Refunded {
        /// How much, in this refund alone.
        amount: Money,
    },
    /// Something we take no interest in.
    Other,
}

/// An event that is not as its gateway documents it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the event cannot be read: {0}")]
pub struct EventError(pub String);

/// A payment gateway. `key` is the idempotency key: repeating a call with it repeats the answer, not the effect.
#[async_trait]
pub trait Gateway: Send + Sync + 'static {
    /// The name in `payments.gateway`.
    fn name(&self) -> &'static str;

    /// Holds an amount.
    async fn authorize(&self, key: &str, request: &Authorize) -> Result<Answer, GatewayError>;

    /// Takes what is held.
    async fn capture(&self, key: &str, request: &Capture) -> Result<Answer, GatewayError>;

    /// Lets go what is held; done too if it was let go before. Refused with [`ALREADY_CAPTURED`] if it was taken.
    async fn void(&self, key: &str, request: &Void) -> Result<Answer, GatewayError>;

    /// Gives back what was taken.
    async fn refund(&self, key: &str, request: &Refund) -> Result<Answer, GatewayError>;

    /// What became of the request with this key; none if the gateway knows of none.
    async fn lookup(&self, key: &str, operation: Operation) -> Result<Option<Answer>, GatewayError>;

    /// Reads the body of one of its webhooks.
    fn read_event(&self, payload: &Value) -> Result<Fact, EventError>;
}
