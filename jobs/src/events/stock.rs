use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waybill_schema::inventory::sync::StockFlip;

use crate::Event;

macro_rules! stock_event {
    ($(#[$meta:meta])* $name:ident, $topic:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            /// The product, whose events arrive in order.
            pub product_id: Uuid,
            /// The variant.
            pub variant_id: Uuid,
            /// Its SKU.
            pub sku: String,
            /// Pieces available over all locations at the time.
            pub available: i64,
        }

        impl From<StockFlip> for $name {
            fn from(flip: StockFlip) -> Self {
                let StockFlip { product_id, variant_id, sku, available } = flip;
                Self { product_id, variant_id, sku, available }
            }
        }

        impl Event for $name {
            const TOPIC: &'static str = $topic;
            const AGGREGATE: &'static str = "product";

            fn aggregate_id(&self) -> Uuid {
                self.product_id
            }
        }
    };
}

stock_event! {
    /// The last available piece of a variant was reserved or taken away.
    StockDepleted, "stock.depleted"
}

stock_event! {
    /// A variant that had none is available again.
    StockReplenished, "stock.replenished"
}
