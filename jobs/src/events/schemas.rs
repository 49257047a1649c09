//! What readers of events may count on, for machines: generated from the types that are sent, as `OpenAPI` 3.0 writes schemas.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::WebhookBody;
use crate::{Event, EventEnvelope};

/// The schemas of a topic in one version. Fields that they do not name may come.
#[derive(Debug, Clone)]
pub struct EventSchemas {
    /// The topic.
    pub topic: &'static str,
    /// Of its payload.
    pub version: i16,
    /// The payload.
    pub payload: Value,
    /// What the broker carries; it refers to the payload.
    pub message: Value,
    /// What webhooks post; it refers to the payload.
    pub webhook: Value,
}

impl EventSchemas {
    pub(super) fn of<E: Event + JsonSchema>() -> Self {
        let mut schemas = Self {
            topic: E::TOPIC,
            version: E::VERSION,
            payload: schema::<E>(),
            message: schema::<EventEnvelope>(),
            webhook: schema::<WebhookBody<'_>>(),
        };
        let payload = json!({ "$ref": format!("#/components/schemas/{}", schemas.name()) });
        let about = &schemas.payload["description"];
        for (carrier, topic, data) in
            [(&mut schemas.message, "topic", "payload"), (&mut schemas.webhook, "type", "data")]
        {
            carrier["description"] = about.clone();
            let fields = &mut carrier["properties"];
            fields[topic]["enum"] = json!([E::TOPIC]);
            fields["version"]["enum"] = json!([E::VERSION]);
            fields[data] = payload.clone();
        }
        schemas.message["properties"]["aggregate"]["enum"] = json!([E::AGGREGATE]);
        schemas
    }

    /// What the payload's schema is called among the document's; those of its carriers have `.message` and `.webhook` behind it.
    pub fn name(&self) -> String {
        format!("{}.v{}", self.topic, self.version)
    }
}

/// Complete in itself: its parts would need names of their own among those of the API.
fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().for_serialize().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    // The document has names for them; some generators would prefer this one, which is the same for all carriers.
    schema.remove("title");
    schema.to_value()
}
