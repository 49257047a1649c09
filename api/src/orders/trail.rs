//! The waybill of an order on the wire.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use serde_json::Value;
use waybill_schema::trail::Entry;

/// One thing that happened because of an order.
#[derive(Debug, Object)]
pub struct TrailEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// Where it is recorded: `order`, `job`, `attempt`, `event`, `pipeline`, `payment`, `gateway`, `stock`, `mail`,
    /// `webhook`.
    pub source: String,
    /// What of that source: the order's step, the job's kind, the event's topic, the payment call, the stock move, the
    /// mail's template.
    pub kind: String,
    /// The id of the thing.
    pub id: Option<String>,
    /// How it stood or ended.
    pub status: Option<String>,
    /// More, by source. Buyers see only what concerns them.
    pub detail: Value,
}

/// Everything an order has caused.
#[derive(Debug, Object)]
pub struct Trail {
    /// In order of time; the first 1,000 entries.
    pub data: Vec<TrailEntry>,
}

/// Details that a buyer may see. Everything else names machines, people of the shop, or other receivers, or is the text
/// of an error.
const PUBLIC: &[(&str, &[&str])] = &[
    ("order", &["version", "reason_code", "reason", "attempt"]),
    ("job", &["attempt"]),
    ("attempt", &["attempt", "started_at", "finished_at"]),
    ("event", &["version"]),
    ("pipeline", &["topic"]),
    ("stock", &["lines", "pieces"]),
    ("webhook", &["attempt"]),
];

impl Trail {
    /// As administrators see it.
    pub fn whole(entries: Vec<Entry>) -> Self {
        Self { data: entries.into_iter().map(|entry| entry_dto(entry, |_, detail| detail)).collect() }
    }

    /// As the buyer sees it.
    pub fn public(entries: Vec<Entry>) -> Self {
        Self { data: entries.into_iter().map(|entry| entry_dto(entry, without_internals)).collect() }
    }
}

fn entry_dto(entry: Entry, detail: impl Fn(&str, Value) -> Value) -> TrailEntry {
    TrailEntry {
        at: entry.at,
        detail: detail(&entry.source, entry.detail),
        source: entry.source,
        kind: entry.kind,
        id: entry.id,
        status: entry.status,
    }
}

fn without_internals(source: &str, detail: Value) -> Value {
    let public = PUBLIC.iter().find(|(name, _)| *name == source).map_or(&[][..], |(_, names)| names);
    match detail {
        Value::Object(detail) => {
            detail.into_iter().filter(|(name, _)| public.contains(&name.as_str())).collect()
        }
        _ => Value::Object(serde_json::Map::new()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn buyers_do_not_see_machines_errors_or_the_shop_s_people() {
        let entry = |source: &str, detail: Value| Entry {
            at: Utc::now(),
            source: source.to_owned(),
            kind: "checkout.run".to_owned(),
            id: None,
            status: None,
            detail,
        };
        let secret = json!({ "attempt": 1, "worker_id": "w", "error": "no route to 10.0.0.7", "actor": "api_key:7",
            "endpoint_id": "e", "message_id": "m", "reason": "x", "job_id": "j" });
        for source in
            ["job", "attempt", "event", "pipeline", "payment", "gateway", "stock", "mail", "webhook", "new"]
        {
            let trail = Trail::public(vec![entry(source, secret.clone())]);
            let detail = trail.data[0].detail.to_string();
            for internal in ["worker_id", "error", "actor", "endpoint_id", "message_id", "reason", "job_id"] {
                assert!(!detail.contains(internal), "{source}: {detail}");
            }
        }
        let whole = Trail::whole(vec![entry("job", secret.clone())]);
        assert_eq!(whole.data[0].detail, secret);
    }
}
