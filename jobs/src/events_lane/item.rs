//! An event in a consumer's hand, and where it came from.

use uuid::Uuid;

use crate::emit::EventEnvelope;

/// How an event reached its consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Lane {
    /// As a message of the broker.
    Amqp,
    /// As a job.
    Postgres,
}

impl Lane {
    /// As in the tables and in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Amqp => "amqp",
            Self::Postgres => "postgres",
        }
    }
}

/// A job that carries an event, as claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub id: Uuid,
    pub claim: i64,
    pub attempt: i16,
    pub max_attempts: i16,
}

/// Where to settle an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A message; `seq` is its place in the outbox.
    Message { seq: i64 },
    /// A job.
    Job(Ticket),
}

/// An event to handle.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub event: EventEnvelope,
    pub place: Place,
}

/// The partition key of a pipeline's events about an aggregate. The relay's SQL builds the same.
pub(crate) fn partition_key(pipeline: &str, event: &EventEnvelope) -> String {
    format!("{pipeline}:{}:{}", event.aggregate, event.aggregate_id)
}

/// The kind of a pipeline's event jobs. The relay's SQL builds the same.
pub(crate) fn job_kind(pipeline: &str) -> String {
    format!("event.{pipeline}")
}

/// An envelope out of a job's payload or a message's body.
pub(crate) fn read(body: &[u8]) -> Result<EventEnvelope, serde_json::Error> {
    serde_json::from_slice(body).map(in_microseconds)
}

/// Postgres keeps microseconds, chrono nanoseconds. `created_at` is part of the inbox's key, so it must be the same whoever
/// wrote the envelope and whatever it went through.
fn in_microseconds(mut event: EventEnvelope) -> EventEnvelope {
    use chrono::SubsecRound as _;
    event.created_at = event.created_at.trunc_subsecs(6);
    event
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_envelope_keeps_its_time_to_the_microsecond() {
        let event = serde_json::json!({
            "id": Uuid::nil(), "topic": "t", "version": 1, "aggregate": "a", "aggregate_id": Uuid::nil(),
            "created_at": "2026-01-02T03:04:05.123456789Z", "payload": {}
        });
        let event = read(event.to_string().as_bytes()).unwrap();
        assert_eq!(event.created_at.timestamp_subsec_nanos(), 123_456_000);
        let again = read(&serde_json::to_vec(&event).unwrap()).unwrap();
        assert_eq!(again, event);
    }
}
