//! A job's arguments between its claim and its handler.

use std::fmt;

use diesel::{
    deserialize::{self, FromSql, FromSqlRow},
    pg::{Pg, PgValue},
    sql_types::Jsonb,
};
use serde::de::DeserializeOwned;

/// The version of jsonb's binary form, its first byte.
const JSONB: u8 = 1;

/// JSON as Postgres sent it. Read once, into what it is for: a tree of values in between would be most of what a small job
/// allocates.
#[derive(Clone, PartialEq, Eq, FromSqlRow)]
pub struct Payload(Box<[u8]>);

impl Payload {
    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What it says.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }
}

impl FromSql<Jsonb, Pg> for Payload {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        match value.as_bytes().split_first() {
            Some((&JSONB, text)) => Ok(Self(text.into())),
            _ => Err("jsonb in a form that is not known".into()),
        }
    }
}

impl From<&serde_json::Value> for Payload {
    fn from(value: &serde_json::Value) -> Self {
        Self(value.to_string().into_bytes().into())
    }
}

/// Not what is in it: some of it is nobody's business but the handler's.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}
