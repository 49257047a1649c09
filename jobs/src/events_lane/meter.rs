//! Metrics of the events' lane.
//!
//! | name | labels | what |
//! |---|---|---|
//! | `waybill_outbox_pending` | | events not handed on yet (by each relay, of all shards) |
//! | `waybill_outbox_oldest_seconds` | | age of the oldest of them |
//! | `waybill_events_lane` | lane | 1 for the lane this process' relay takes, else 0 |
//! | `waybill_events_published_total` | topic, lane | events handed on |
//! | `waybill_events_handled_total` | pipeline, lane, outcome | done, duplicate, failed, behind, newer, unreadable, ignored |
//! | `waybill_events_duplicate_total` | pipeline | copies of events that were handled before |
//! | `waybill_events_parked_total` | pipeline | messages that became jobs or dead letters |

use metrics::{counter, gauge};

use super::item::Lane;

/// `waybill_events_handled_total{pipeline, lane, outcome}`: done, duplicate, failed, behind, newer, unreadable or ignored.
pub(crate) fn handled(pipeline: &'static str, lane: Lane, outcome: &'static str, events: usize) {
    if events > 0 {
        counter!("waybill_events_handled_total",
            "pipeline" => pipeline, "lane" => lane.as_str(), "outcome" => outcome)
        .increment(events as u64);
        if outcome == "duplicate" {
            counter!("waybill_events_duplicate_total", "pipeline" => pipeline).increment(events as u64);
        }
    }
}

/// `waybill_events_parked_total{pipeline}`: messages that became jobs.
pub(crate) fn parked(pipeline: &'static str, events: usize) {
    if events > 0 {
        counter!("waybill_events_parked_total", "pipeline" => pipeline).increment(events as u64);
    }
}

/// `waybill_events_published_total{topic, lane}`.
pub(crate) fn published(topic: String, lane: Lane, events: u64) {
    counter!("waybill_events_published_total", "topic" => topic, "lane" => lane.as_str()).increment(events);
}

/// `waybill_events_lane{lane}`: 1 for the lane that this process' relay takes.
pub(crate) fn lane(now: Option<Lane>) {
    for lane in [Lane::Amqp, Lane::Postgres] {
        gauge!("waybill_events_lane", "lane" => lane.as_str()).set(if now == Some(lane) { 1.0 } else { 0.0 });
    }
}

/// `waybill_outbox_pending` and `waybill_outbox_oldest_seconds`.
pub(crate) fn outbox(pending: i64, oldest_seconds: f64) {
    // Rows beyond 2^52 would lose precision, which no gauge minds.
    #[allow(clippy::cast_precision_loss)]
    gauge!("waybill_outbox_pending").set(pending as f64);
    gauge!("waybill_outbox_oldest_seconds").set(oldest_seconds);
}
