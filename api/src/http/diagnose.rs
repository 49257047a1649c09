//! Compares a JSON value with the schema that the `OpenAPI` document publishes, and says everything that does not fit.
//!
//! The framework's parser stops at the first fault, names a Rust type instead of a field, and takes numbers where texts
//! belong, so that `{"amount": 0.1}` would become money by way of a float. So every body is compared first. The schema of a
//! type is worked out once; a comparison allocates nothing unless it finds a fault.

use std::{
    any::TypeId,
    collections::HashMap,
    fmt::Write,
    sync::{Arc, LazyLock, PoisonError, RwLock},
};

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};
use serde_json::{Map, Number, Value};

use crate::error::FieldError;

/// Faults told of one body at most: a client that sends thousands needs no list of thousands.
const MAX_ERRORS: usize = 50;

struct Schema {
    registry: Registry,
    root: MetaSchemaRef,
}

static SCHEMAS: LazyLock<RwLock<HashMap<TypeId, Arc<Schema>>>> = LazyLock::new(RwLock::default);

fn schema_of<T: Type + 'static>() -> Arc<Schema> {
    let id = TypeId::of::<T>();
    if let Some(schema) = SCHEMAS.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
        return Arc::clone(schema);
    }
    let mut registry = Registry::new();
    T::register(&mut registry);
    let schema = Arc::new(Schema { registry, root: T::schema_ref() });
    SCHEMAS.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&schema));
    schema
}

/// Everything about `value` that is no `T`: missing, unknown and mistyped fields.
pub fn faults<T: Type + 'static>(value: &Value) -> Vec<FieldError> {
    let schema = schema_of::<T>();
    let mut walk = Walk { registry: &schema.registry, path: Vec::new(), errors: Vec::new() };
    walk.check(&schema.root, value);
    walk.errors
}

enum Segment<'a> {
    Field(&'a str),
    Item(usize),
}

struct Walk<'a> {
    registry: &'a Registry,
    path: Vec<Segment<'a>>,
    errors: Vec<FieldError>,
}

impl<'a> Walk<'a> {
    fn add(&mut self, code: &'static str, message: impl Into<String>) {
        if self.errors.len() >= MAX_ERRORS {
            return;
        }
        let mut field = String::new();
        for segment in &self.path {
            let _ = match segment {
                Segment::Field(name) if field.is_empty() => write!(field, "{name}"),
                Segment::Field(name) => write!(field, ".{name}"),
                Segment::Item(i) => write!(field, "[{i}]"),
            };
        }
        if field.is_empty() {
            field.push_str("body");
        }
        self.errors.push(FieldError { field, code, message: message.into() });
    }

    fn within(&mut self, segment: Segment<'a>, check: impl FnOnce(&mut Self)) {
        self.path.push(segment);
        check(self);
        self.path.pop();
    }

    fn check(&mut self, schema: &'a MetaSchemaRef, value: &'a Value) {
        match schema {
            MetaSchemaRef::Inline(schema) => self.check_schema(schema, value),
            MetaSchemaRef::Reference(name) => {
                if let Some(schema) = self.registry.schemas.get(name) {
                    self.check_schema(schema, value);
                }
            }
        }
    }

    fn check_schema(&mut self, schema: &'a MetaSchema, value: &'a Value) {
        if !schema.all_of.is_empty() {
            for part in &schema.all_of {
                self.check(part, value);
            }
            return;
        }
        let fits = match schema.ty {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => true,
        };
        if !fits {
            self.add("type", format!("must be {}, not {}", article(schema.ty), kind(value)));
            return;
        }
        match value {
            Value::Object(object) if schema.ty == "object" => self.check_object(schema, object),
            Value::Array(items) => {
                if let Some(item_schema) = &schema.items {
                    for (i, item) in items.iter().enumerate() {
                        self.within(Segment::Item(i), |walk| walk.check(item_schema, item));
                    }
                }
            }
            Value::String(text) => self.check_text(schema, value, text),
            Value::Number(number) => self.check_number(schema, number),
            _ => {}
        }
    }

    fn check_object(&mut self, schema: &'a MetaSchema, object: &'a Map<String, Value>) {
        for name in &schema.required {
            if object.get(*name).is_none_or(Value::is_null) {
                self.within(Segment::Field(name), |walk| walk.add("required", "is required"));
            }
        }
        for (name, value) in object {
            let property = schema.properties.iter().find(|(known, _)| known == name);
            match (property, &schema.additional_properties) {
                // A field that may be missing may be null; one that may not was told above.
                (Some(_), _) if value.is_null() => {}
                (Some((_, property)), _) => {
                    self.within(Segment::Field(name), |walk| walk.check(property, value));
                }
                (None, Some(rest)) => self.within(Segment::Field(name), |walk| walk.check(rest, value)),
                // An object without known fields is a free one.
                (None, None) if schema.properties.is_empty() => {}
                (None, None) => {
                    self.within(Segment::Field(name), |walk| walk.add("unknown_field", "is not known here"));
                }
            }
        }
    }

    fn check_number(&mut self, schema: &MetaSchema, number: &Number) {
        let is_int32 = schema.format == Some("int32");
        if is_int32 && number.as_i64().is_none_or(|number| i32::try_from(number).is_err()) {
            self.add("invalid", format!("must be from {} to {}", i32::MIN, i32::MAX));
            return;
        }
        let Some(number) = number.as_f64() else { return };
        let (above, below) = (schema.exclusive_minimum == Some(true), schema.exclusive_maximum == Some(true));
        let low = schema.minimum.filter(|least| if above { number <= *least } else { number < *least });
        let high = schema.maximum.filter(|most| if below { number >= *most } else { number > *most });
        if let Some(least) = low {
            self.add("invalid", format!("must be {}{least}", if above { "more than " } else { "at least " }));
        }
        if let Some(most) = high {
            self.add("invalid", format!("must be {}{most}", if below { "less than " } else { "at most " }));
        }
    }

    fn check_text(&mut self, schema: &MetaSchema, value: &Value, text: &str) {
        if !schema.enum_items.is_empty() && !schema.enum_items.contains(value) {
            let items = schema.enum_items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
            self.add("invalid", format!("must be one of: {items}"));
        }
        match schema.format {
            Some("uuid") if text.parse::<uuid::Uuid>().is_err() => self.add("invalid", "must be a UUID"),
            Some("date-time") if chrono::DateTime::parse_from_rfc3339(text).is_err() => {
                self.add("invalid", "must be a time as in RFC 3339");
            }
            _ => {}
        }
    }
}

fn article(ty: &str) -> &'static str {
    match ty {
        "object" => "an object",
        "array" => "a list",
        "string" => "a text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        _ => "a number",
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use poem_openapi::Object;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Object)]
    #[oai(deny_unknown_fields)]
    #[allow(dead_code, reason = "only their schema is of interest")]
    struct Order {
        email: String,
        customer_id: Option<uuid::Uuid>,
        lines: Vec<Line>,
    }

    #[derive(Debug, Object)]
    #[oai(deny_unknown_fields)]
    #[allow(dead_code, reason = "only their schema is of interest")]
    struct Line {
        sku: String,
        quantity: i32,
    }

    #[derive(Debug, Object)]
    #[allow(dead_code, reason = "only their schema is of interest")]
    struct Weight {
        #[oai(validator(minimum(value = "1"), maximum(value = "10")))]
        pieces: Option<i32>,
        #[oai(validator(minimum(value = "0", exclusive)))]
        kilograms: f64,
    }

    #[test]
    fn every_fault_is_named_by_its_field() {
        let body = json!({
            "customer_id": "me", "colour": "red",
            "lines": [{ "sku": 7, "quantity": 1 }, { "sku": "A", "quantity": "two", "extra": 0 }],
        });
        let mut found: Vec<_> = faults::<Order>(&body).into_iter().map(|e| (e.field, e.code)).collect();
        found.sort();
        let expected = [
            ("colour", "unknown_field"),
            ("customer_id", "invalid"),
            ("email", "required"),
            ("lines[0].sku", "type"),
            ("lines[1].extra", "unknown_field"),
            ("lines[1].quantity", "type"),
        ];
        assert_eq!(found, expected.map(|(field, code)| (field.to_owned(), code)));
    }

    #[test]
    fn a_number_beyond_its_bounds_is_named_with_them() {
        let told = |pieces: Value, kilograms: Value| {
            let found = faults::<Weight>(&json!({ "pieces": pieces, "kilograms": kilograms }));
            found.into_iter().map(|e| format!("{} {}", e.field, e.message)).collect::<Vec<_>>()
        };
        assert_eq!(told(json!(1), json!(0.1)), [""; 0]);
        assert_eq!(told(json!(10), json!(1e300)), [""; 0]);
        assert_eq!(told(Value::Null, json!(0)), ["kilograms must be more than 0"]);
        assert_eq!(told(json!(0), json!(1)), ["pieces must be at least 1"]);
        assert_eq!(told(json!(11), json!(1)), ["pieces must be at most 10"]);
    }

    #[test]
    fn what_fits_has_no_faults_and_numbers_are_no_texts() {
        let body = json!({ "email": "a", "customer_id": null, "lines": [{ "sku": "A", "quantity": 1 }] });
        assert_eq!(faults::<Order>(&body), []);
        let field = |value: Value| faults::<Order>(&value).into_iter().map(|e| e.field).collect::<Vec<_>>();
        assert_eq!(field(json!({ "email": 7, "lines": [] })), ["email"]);
        assert_eq!(
            field(json!({ "email": "a", "lines": [{ "sku": "A", "quantity": 3_000_000_000_i64 }] })),
            ["lines[0].quantity"]
        );
        assert_eq!(field(json!([])), ["body"]);
    }
}
