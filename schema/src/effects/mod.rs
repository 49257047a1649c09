//! The effect ledger: one row per effect outside the database (an authorization, a capture, ...), written before the call
//! that may cause it and settled after it.
//!
//! The key goes to the provider as its idempotency key. A row that is still [`EffectState::Started`] is resolved by asking
//! the provider, never by doing it again: [`Effect::standing`] says which of the two is due.

mod call;
mod keys;
mod ledger;
pub(crate) mod ledger_json;

pub use call::{Ask, Call, CallOutcome};
pub use keys::{authorize_key, capture_key, refund_key, void_key};
pub use ledger::{NewEffect, begin, correct, find, of_correlation, record, settle};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

crate::text_enum! {
    /// What is known of an outside effect.
    pub enum EffectState {
        /// It may or may not have happened.
        Started = "started",
        /// It happened.
        Succeeded = "succeeded",
        /// It did not happen, and will not.
        Rejected = "rejected",
    }
}

/// A row of the ledger.
#[derive(Debug, Clone, Deserialize)]
pub struct Effect {
    /// Unique; the provider's idempotency key.
    pub key: String,
    /// authorize, capture, void, refund.
    pub kind: String,
    /// Whom it is asked of.
    pub provider: String,
    /// What is known.
    pub state: EffectState,
    /// What is asked.
    pub request: Value,
    /// What was answered, once settled.
    pub response: Option<Value>,
    /// Every call and question, in order.
    pub calls: Vec<Call>,
    /// When it was first intended.
    pub started_at: DateTime<Utc>,
}

/// What to do next about an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: its answer is in the ledger.
    Settled,
    /// Call: no request can have reached the provider, or it said that none had.
    Untried,
    /// Ask: a request may have reached the provider at this moment or later.
    Unknown(DateTime<Utc>),
}

impl Effect {
    /// Reads the history of calls from its end.
    pub fn standing(&self) -> Standing {
        if self.state != EffectState::Started {
            return Standing::Settled;
        }
        for call in self.calls.iter().rev() {
            match (call.ask, call.outcome) {
                (Ask::Lookup, CallOutcome::NotFound) => return Standing::Untried,
                // A question without an answer tells nothing; a call that surely had no effect is as if never made.
                (Ask::Lookup, _) | (Ask::Request, CallOutcome::Unavailable) => {}
                (Ask::Request, _) => return Standing::Unknown(call.at),
            }
        }
        Standing::Untried
    }

    /// When a request was last sent that may have reached the provider.
    pub fn last_sent(&self) -> Option<DateTime<Utc>> {
        self.calls
            .iter()
            .rev()
            .find(|call| call.ask == Ask::Request && call.outcome != CallOutcome::Unavailable)
            .map(|call| call.at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn standing(calls: &[(Ask, CallOutcome)]) -> Standing {
        let calls = calls.iter().map(|&(ask, outcome)| Call::new(ask, outcome)).collect();
        let effect = Effect {
            key: "order:1:authorize".into(),
            kind: "authorize".into(),
            provider: "sandbox".into(),
            state: EffectState::Started,
            request: Value::Null,
            response: None,
            calls,
            started_at: Utc::now(),
        };
        effect.standing()
    }

    #[test]
    fn a_call_without_an_answer_is_asked_about() {
        assert!(matches!(standing(&[(Ask::Request, CallOutcome::Sent)]), Standing::Unknown(_)));
        assert!(matches!(standing(&[(Ask::Request, CallOutcome::Unknown)]), Standing::Unknown(_)));
        let asked_in_vain = [(Ask::Request, CallOutcome::Unknown), (Ask::Lookup, CallOutcome::Unavailable)];
        assert!(matches!(standing(&asked_in_vain), Standing::Unknown(_)));
        let refused_meanwhile = [(Ask::Request, CallOutcome::Sent), (Ask::Request, CallOutcome::Unavailable)];
        assert!(matches!(standing(&refused_meanwhile), Standing::Unknown(_)));
    }

    #[test]
    fn what_cannot_have_happened_is_called() {
        assert_eq!(standing(&[]), Standing::Untried);
        assert_eq!(standing(&[(Ask::Request, CallOutcome::Unavailable)]), Standing::Untried);
        let denied = [(Ask::Request, CallOutcome::Unknown), (Ask::Lookup, CallOutcome::NotFound)];
        assert_eq!(standing(&denied), Standing::Untried);
    }
}
