//! The ledger's JSON columns.

use diesel::QueryResult;
use serde_json::Value;

/// JSON of our own writing; what cannot be read is a corrupt row.
pub(crate) fn read<T: serde::de::DeserializeOwned>(value: Value) -> QueryResult<T> {
    serde_json::from_value(value).map_err(|e| diesel::result::Error::DeserializationError(e.into()))
}

/// JSON of plain data, which cannot fail to be written; null if it did.
pub(crate) fn write<T: serde::Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
