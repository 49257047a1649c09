use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Event;

/// A product or one of its variants was created or changed. Carries no data: readers fetch the newest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductUpdated {
    /// The product.
    pub product_id: Uuid,
    /// Its version after the change.
    pub version: i64,
}

impl Event for ProductUpdated {
    const TOPIC: &'static str = "product.updated";
    const AGGREGATE: &'static str = "product";

    fn aggregate_id(&self) -> Uuid {
        self.product_id
    }
}
