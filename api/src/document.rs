//! The `OpenAPI` document: what the routes say of themselves, and the events that webhooks post.

use indexmap::IndexMap;
use serde_json::{Map, Value, json, value::RawValue};
use waybill_jobs::events::{self, schemas::EventSchemas};

/// An object with its fields in the order in which they are written: pages of the document keep it.
type Fields = IndexMap<String, Box<RawValue>>;

/// Who registers an endpoint asks for the posts.
const REGISTERING: [&str; 3] = ["paths", "/v1/admin/webhook-endpoints", "post"];

/// Puts the schemas of all events into a document, and what is posted to endpoints to the operation that registers them.
pub fn with_events(document: &str) -> serde_json::Result<String> {
    let events = events::schemas();
    let document = change(document, &["components", "schemas"], |schemas| {
        for event in &events {
            let name = event.name();
            for (name, schema) in [
                (format!("{name}.webhook"), &event.webhook),
                (format!("{name}.message"), &event.message),
                (name, &event.payload),
            ] {
                schemas.insert(name, raw(schema)?);
            }
        }
        Ok(())
    })?;
    let posts: Map<String, Value> =
        events.iter().map(|event| (event.topic.to_owned(), post(event))).collect();
    change(document.get(), &REGISTERING, |operation| {
        operation.insert("callbacks".to_owned(), raw(&posts)?);
        Ok(())
    })
    .map(|document| document.get().to_owned())
}

/// How an event is posted to an endpoint.
fn post(event: &EventSchemas) -> Value {
    let header = |name: &str, what: &str| json!({ "name": name, "in": "header", "required": true, "description": what, "schema": { "type": "string" } });
    json!({ "{$request.body#/url}": { "post": {
        "summary": event.topic,
        "description": event.payload["description"],
        "parameters": [
            header("webhook-id", "The event, the same every time: deduplicate by it."),
            header("webhook-timestamp", "When it was posted, in Unix seconds."),
            header("webhook-signature", "As Standard Webhooks has it."),
        ],
        "requestBody": { "required": true, "content": { "application/json": {
            "schema": { "$ref": format!("#/components/schemas/{}.webhook", event.name()) },
        } } },
        "responses": {
            "2XX": { "description": "It has it." },
            "410": { "description": "It wants nothing more, and is disabled." },
            "default": { "description": "It is posted again later." },
        },
    } } })
}

/// Changes the object at a path, and leaves all else as it is written.
fn change(
    object: &str,
    path: &[&str],
    with: impl FnOnce(&mut Fields) -> serde_json::Result<()>,
) -> serde_json::Result<Box<RawValue>> {
    let mut fields: Fields = serde_json::from_str(object)?;
    match path {
        [] => with(&mut fields)?,
        [first, rest @ ..] => {
            let inner = change(fields.get(*first).map_or("{}", |raw| raw.get()), rest, with)?;
            fields.insert((*first).to_owned(), inner);
        }
    }
    raw(&fields)
}

fn raw(value: &impl serde::Serialize) -> serde_json::Result<Box<RawValue>> {
    RawValue::from_string(serde_json::to_string_pretty(value)?)
}
