//! The schemas of events in the API's document, which readers in other languages are generated from.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use jsonschema::Validator;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use waybill_jobs::{
    EventEnvelope,
    events::{TOPICS, WebhookBody},
};
use waybill_tests::process::Process;

use crate::catalogue::samples;

/// `OpenAPI` 3.0 says `nullable` where JSON Schema has a second type.
fn in_json_schema(schema: &mut Value) {
    if let Some(fields) = schema.as_object_mut() {
        if fields.remove("nullable") == Some(Value::Bool(true)) {
            let only = fields["type"].take();
            fields["type"] = json!([only, "null"]);
        }
        fields.values_mut().for_each(in_json_schema);
    } else if let Some(items) = schema.as_array_mut() {
        items.iter_mut().for_each(in_json_schema);
    }
}

async fn document() -> anyhow::Result<Value> {
    let (well, document, errors) = Process::finish("waybill-api", &["openapi"], &[].into()).await?;
    ensure!(well, "{errors}");
    Ok(serde_json::from_str(&document)?)
}

struct Schemas(Map<String, Value>);

impl Schemas {
    fn of(document: &Value) -> anyhow::Result<Self> {
        let schemas = document["components"]["schemas"].as_object().context("no schemas")?;
        let events = schemas.iter().filter(|(name, _)| TOPICS.iter().any(|topic| name.starts_with(topic)));
        Ok(Self(
            events
                .map(|(name, schema)| {
                    let mut schema = schema.clone();
                    in_json_schema(&mut schema);
                    (name.clone(), schema)
                })
                .collect(),
        ))
    }

    fn validator(&self, name: &str) -> anyhow::Result<Validator> {
        ensure!(self.0.contains_key(name), "no schema {name}");
        let schema =
            json!({ "$ref": format!("#/components/schemas/{name}"), "components": { "schemas": self.0 } });
        Ok(jsonschema::options().should_validate_formats(true).build(&schema)?)
    }
}

/// Each field is needed, and is of its type; one more may come.
fn holds(name: &str, validator: &Validator, good: &Value) -> anyhow::Result<()> {
    validator.validate(good).map_err(|error| anyhow::anyhow!("{name}: {error} in {good}"))?;
    let fields = good.as_object().context("no object")?;
    for field in fields.keys() {
        let mut lacks = fields.clone();
        lacks.remove(field);
        let optional = ["correlation_id", "causation_id", "traceparent"].contains(&field.as_str());
        ensure!(validator.is_valid(&lacks.into()) == optional, "{name} without {field}");
        let mut wrong = fields.clone();
        wrong.insert(field.clone(), json!({ "wrong": [true] }));
        ensure!(!validator.is_valid(&wrong.into()), "{name} with a wrong {field}");
    }
    let mut more = fields.clone();
    more.insert("of_a_later_release".to_owned(), json!(1));
    ensure!(validator.is_valid(&more.into()), "{name} with a field more");
    Ok(())
}

#[tokio::test]
async fn every_topic_has_schemas_that_what_is_sent_meets() -> anyhow::Result<()> {
    let document = document().await?;
    let schemas = Schemas::of(&document)?;
    let id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    let mut names = BTreeSet::new();
    for ((topic, version), payload) in samples()? {
        let name = format!("{topic}.v{version}");
        holds(&name, &schemas.validator(&name)?, &payload)?;
        let event = EventEnvelope {
            id,
            topic: topic.to_owned(),
            version,
            aggregate: topic.split('.').next().unwrap_or_default().replace("stock", "product"),
            aggregate_id: id,
            created_at: "2026-01-02T03:04:05.678901Z".parse()?,
            correlation_id: Some(id),
            causation_id: Some(id),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            payload,
        };
        let (message, webhook) = (format!("{name}.message"), format!("{name}.webhook"));
        holds(&message, &schemas.validator(&message)?, &serde_json::to_value(&event)?)?;
        let posted = serde_json::to_value(WebhookBody::from(&event))?;
        let validator = schemas.validator(&webhook)?;
        holds(&webhook, &validator, &posted)?;
        let another = json!({ "type": "another.topic" });
        ensure!(!validator.is_valid(&merged(&posted, &another)), "{webhook} of another topic");
        names.extend([name, message, webhook]);
    }
    ensure!(names.iter().eq(schemas.0.keys()), "{names:?}, not {:?}", schemas.0.keys());
    Ok(())
}

fn merged(one: &Value, other: &Value) -> Value {
    let mut fields = one.as_object().cloned().unwrap_or_default();
    fields.extend(other.as_object().cloned().unwrap_or_default());
    fields.into()
}

#[tokio::test]
async fn who_registers_an_endpoint_reads_what_will_be_posted() -> anyhow::Result<()> {
    let document = document().await?;
    let posts = document["paths"]["/v1/admin/webhook-endpoints"]["post"]["callbacks"]
        .as_object()
        .context("no callbacks")?;
    ensure!(
        posts.keys().map(String::as_str).eq(TOPICS.iter().copied().collect::<BTreeSet<_>>()),
        "{posts:?}"
    );
    for (topic, post) in posts {
        let body = &post["{$request.body#/url}"]["post"]["requestBody"]["content"]["application/json"];
        let name =
            body["schema"]["$ref"].as_str().and_then(|name| name.strip_prefix("#/components/schemas/"));
        let schema = &document["components"]["schemas"][name.context("no schema")?];
        ensure!(schema["properties"]["type"]["enum"] == json!([topic]), "{schema}");
    }
    Ok(())
}
