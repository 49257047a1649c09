//! Webhooks out: signed events over a bounded queue, with the delivery faults that can be scripted.

mod dispatcher;
mod lane;
mod secret;

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::ids::{AuthorizationId, EventId};
use crate::refusal::raw;

pub(crate) use dispatcher::{Dispatcher, Settings, Target, TargetError};
pub(crate) use lane::run as run_lane;
pub use secret::{SecretError, WebhookSecret};

/// Something that happened, as it goes to the receiver.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: EventId,
    pub(crate) authorization: AuthorizationId,
    pub(crate) body: Bytes,
}

impl Event {
    pub(crate) fn new(
        kind: &'static str,
        authorization: AuthorizationId,
        created_at: DateTime<Utc>,
        data: &RawValue,
    ) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            id: EventId,
            r#type: &'a str,
            created_at: DateTime<Utc>,
            data: &'a RawValue,
        }

        let id = EventId::new();
        let body = raw(&Body { id, r#type: kind, created_at, data });
        Self { id, authorization, body: Bytes::copy_from_slice(body.get().as_bytes()) }
    }
}

/// How often, and when, an event is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Once,
    Twice,
    Never,
    /// After the next event of the same authorization, or after this time if there is none.
    AfterNext(Duration),
}

/// An event in the queue.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) event: Event,
    /// The journal position of what it tells; it is not told before that is written.
    pub(crate) position: u64,
    pub(crate) manner: Manner,
}
