//! Stock keeping units.

use serde::{Deserialize, Serialize};

/// A stock keeping unit: 1 to 64 printable characters without surrounding white space, as the merchant writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sku(String);

/// A text that is no SKU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a SKU has 1 to 64 printable characters: {0:?}")]
pub struct InvalidSku(pub String);

impl Sku {
    /// Trims, then checks length and characters.
    pub fn parse(text: &str) -> Result<Self, InvalidSku> {
        let sku = text.trim();
        if sku.is_empty() || sku.chars().count() > 64 || sku.chars().any(char::is_control) {
            return Err(InvalidSku(text.chars().take(80).collect()));
        }
        Ok(Self(sku.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Sku {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Sku {
    type Error = InvalidSku;

    fn try_from(value: String) -> Result<Self, Self::Error> {
        Self::parse(&value)
    }
}

impl From<Sku> for String {
    fn from(value: Sku) -> Self {
        value.0
    }
}
