//! The payloads of events, which others read: one golden text per topic and version, and the document that describes them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;
use waybill_jobs::{
    Event,
    events::{
        self, CustomerRegistered, EndpointDisabled, OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced,
        ProductUpdated, StockDepleted, StockReplenished, TOPICS,
    },
};
use waybill_schema::Money;

const DOCUMENT: &str = include_str!("../../../docs/events.md");

fn sample<E: Event>(samples: &mut BTreeMap<(&'static str, i16), Value>, event: &E) -> anyhow::Result<()> {
    samples.insert((E::TOPIC, E::VERSION), serde_json::to_value(event)?);
    Ok(())
}

/// One of each topic, with everything that it can have.
pub fn samples() -> anyhow::Result<BTreeMap<(&'static str, i16), Value>> {
    let mut samples = BTreeMap::new();
    let id = |n: u128| Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + n);
    let at: DateTime<Utc> = "2026-01-02T03:04:05.678901Z".parse()?;
    let total: Money = serde_json::from_value(serde_json::json!({ "amount": "15.30", "currency": "GBP" }))?;
    let (order_id, number, reference, customer_id) = (id(1), 1_042, Some("PO-7".to_owned()), Some(id(2)));
    let line = OrderLine {
        sku: "MUG-1".to_owned(),
        name: "Mug".to_owned(),
        quantity: 2,
        unit_price: "7.65".to_owned(),
        total: "15.30".to_owned(),
    };
    let placed =
        OrderPlaced { order_id, number, reference: reference.clone(), customer_id, total, placed_at: at };
    let confirmed = OrderConfirmed {
        order_id,
        number,
        reference: reference.clone(),
        customer_id,
        total,
        lines: vec![line],
        confirmed_at: at,
    };
    let cancelled = OrderCancelled {
        order_id,
        number,
        reference,
        customer_id,
        total,
        reason_code: "out_of_stock".to_owned(),
        reason: "MUG-1 is sold out".to_owned(),
        cancelled_at: at,
    };
    sample(&mut samples, &placed)?;
    sample(&mut samples, &confirmed)?;
    sample(&mut samples, &cancelled)?;
    sample(&mut samples, &CustomerRegistered { customer_id: id(2), registered_at: at })?;
    sample(&mut samples, &ProductUpdated { product_id: id(3), version: 7 })?;
    let (product_id, variant_id, sku) = (id(3), id(4), "MUG-1".to_owned());
    sample(&mut samples, &StockDepleted { product_id, variant_id, sku: sku.clone(), available: 0 })?;
    sample(&mut samples, &StockReplenished { product_id, variant_id, sku, available: 12 })?;
    let disabled = EndpointDisabled {
        endpoint_id: id(5),
        reason: "every attempt has failed for 5 days".to_owned(),
        failing_since: Some(at),
        disabled_at: at,
    };
    sample(&mut samples, &disabled)?;
    Ok(samples)
}

/// A snapshot that has to change breaks whoever reads the events, unless fields were only added: raise the version instead.
#[test]
fn payloads_are_what_they_were() -> anyhow::Result<()> {
    let samples = samples()?;
    let sampled: BTreeSet<&str> = samples.keys().map(|(topic, _)| *topic).collect();
    ensure!(sampled == TOPICS.iter().copied().collect(), "a sample of each topic: {sampled:?}");
    for ((topic, version), payload) in samples {
        ensure!(events::version(topic) == version, "{topic}");
        insta::assert_snapshot!(format!("{topic}.v{version}"), serde_json::to_string_pretty(&payload)?);
    }
    Ok(())
}

/// Every key of a payload, those of its lines too; money is described once for all.
fn keys(payload: &Value, found: &mut BTreeSet<String>) {
    match payload {
        Value::Object(fields) if fields.contains_key("currency") => {}
        Value::Object(fields) => {
            for (key, value) in fields {
                found.insert(key.clone());
                keys(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[test]
fn the_document_has_every_topic_and_every_field() -> anyhow::Result<()> {
    let table = DOCUMENT
        .split("## Topics")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .context("no topics")?;
    let rows: BTreeMap<&str, &str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once('`'))
        .collect();
    ensure!(rows.keys().copied().eq(TOPICS.iter().copied().collect::<BTreeSet<_>>()), "{:?}", rows.keys());
    for ((topic, version), payload) in samples()? {
        let row = rows[topic];
        let mut found = BTreeSet::new();
        keys(&payload, &mut found);
        for field in &found {
            ensure!(row.contains(&format!("`{field}`")), "{field} of {topic} is not in {row}");
        }
        ensure!(row.starts_with(&format!(" | {version} |")), "the version of {topic} in {row}");
    }
    Ok(())
}
