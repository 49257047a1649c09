//! One call or question to a provider, as the ledger remembers it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

crate::text_enum! {
    /// What was said to the provider.
    pub enum Ask {
        /// Do it.
        Request = "request",
        /// Was it done?
        Lookup = "lookup",
    }
}

crate::text_enum! {
    /// How a call ended.
    pub enum CallOutcome {
        /// Written before the call; whoever finds it does not know whether the call was made.
        Sent = "sent",
        /// Done.
        Succeeded = "succeeded",
        /// Refused by the issuer of the card.
        Declined = "declined",
        /// Refused by the provider.
        Rejected = "rejected",
        /// No answer, or none that says what happened.
        Unknown = "unknown",
        /// Surely without effect: not sent, or refused for the moment.
        Unavailable = "unavailable",
        /// The provider knows of no such request.
        NotFound = "not_found",
    }
}

/// An entry of `effects.calls`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// When it began.
    pub at: DateTime<Utc>,
    /// What was said.
    pub ask: Ask,
    /// How it ended.
    pub outcome: CallOutcome,
    /// Milliseconds until the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// The job that called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<Uuid>,
    /// Its attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i16>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Call {
    /// A call that begins now.
    pub fn new(ask: Ask, outcome: CallOutcome) -> Self {
        Self { at: Utc::now(), ask, outcome, ms: None, job_id: None, attempt: None, error: None }
    }

    /// The same, made by an attempt of a job.
    #[must_use]
    pub fn by(mut self, job_id: Uuid, attempt: i16) -> Self {
        self.job_id = Some(job_id);
        self.attempt = Some(attempt);
        self
    }
}
