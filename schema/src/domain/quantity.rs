//! How many of a thing.

use serde::{Deserialize, Serialize};

/// A quantity of at least one, at most one million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Quantity(i32);

/// A number that is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a quantity is between 1 and {max}, not {0}", max = Quantity::MAX)]
pub struct InvalidQuantity(pub i64);

impl Quantity {
    /// The largest quantity of one line.
    pub const MAX: i32 = 1_000_000;

    /// A quantity between 1 and [`Self::MAX`].
    pub fn new(value: i64) -> Result<Self, InvalidQuantity> {
        match i32::try_from(value) {
            Ok(v) if (1..=Self::MAX).contains(&v) => Ok(Self(v)),
            _ => Err(InvalidQuantity(value)),
        }
    }

    /// The number.
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl TryFrom<i64> for Quantity {
    type Error = InvalidQuantity;

    fn try_from(value: i64) -> Result<Self, Self::Error> {
        Self::new(value)
    }
}

impl From<Quantity> for i64 {
    fn from(value: Quantity) -> Self {
        Self::from(value.0)
    }
}
