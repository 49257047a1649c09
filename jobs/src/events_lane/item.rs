//! An event in a consumer's hand, and where it came from.

use chrono::Datelike as _;
use serde::de::Error as _;
use serde_json::Value;
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

/// Longest topic, aggregate or traceparent, in bytes: they are parts of keys.
const MAX_TEXT: usize = 500;

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

/// An envelope out of a job's payload or a message's body; one that Postgres would not take is none. Anybody may publish to the
/// exchange, and a pipeline would try such a message for ever, as if the database were away.
pub(crate) fn read(body: &[u8]) -> Result<EventEnvelope, serde_json::Error> {
    let event = serde_json::from_slice(body).map(in_microseconds)?;
    match unfit(&event) {
        Some(why) => Err(serde_json::Error::custom(why)),
        None => Ok(event),
    }
}

/// Why the envelope is nothing for the tables, if so.
fn unfit(event: &EventEnvelope) -> Option<&'static str> {
    let texts = [Some(&event.topic), Some(&event.aggregate), event.traceparent.as_ref()];
    if texts.into_iter().flatten().any(|text| text.len() > MAX_TEXT) {
        return Some("its topic, aggregate or traceparent is longer than 500 bytes");
    }
    if texts.into_iter().flatten().any(|text| text.contains('\0')) || has_nul(&event.payload) {
        return Some("it contains NUL");
    }
    // Years of four digits: both sides know more, and not the same.
    (!(1..=9999).contains(&event.created_at.year())).then_some("its time is of another age")
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
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
    fn what_postgres_would_not_take_is_no_envelope() {
        let good = serde_json::json!({
            "id": Uuid::nil(), "topic": "t", "version": 1, "aggregate": "a", "aggregate_id": Uuid::nil(),
            "created_at": "2026-01-02T03:04:05Z", "payload": { "text": "not \\u0000 itself" }
        });
        assert!(read(good.to_string().as_bytes()).is_ok());
        for (field, value) in [
            ("payload", serde_json::json!({ "deep": [{ "a\0b": 1 }] })),
            ("payload", serde_json::json!({ "text": "\0" })),
            ("topic", serde_json::json!("t\0")),
            ("traceparent", serde_json::json!("\0")),
            ("aggregate", serde_json::json!("a".repeat(501))),
            ("created_at", serde_json::json!("-9999-01-01T00:00:00Z")),
            ("created_at", serde_json::json!("+50000-01-01T00:00:00Z")),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            assert!(read(bad.to_string().as_bytes()).is_err(), "{bad}");
        }
    }

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
