use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waybill_schema::Money;

use crate::Event;

/// A line of an order, as it was frozen at checkout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderLine {
    /// Stock keeping unit.
    pub sku: String,
    /// Product name.
    pub name: String,
    /// Pieces.
    pub quantity: i32,
    /// Price of one, decimal text.
    pub unit_price: String,
    /// Price of the line, decimal text.
    pub total: String,
}

macro_rules! order_event {
    ($(#[$meta:meta])* $name:ident, $topic:literal { $($(#[$fmeta:meta])* $field:ident: $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            /// The order.
            pub order_id: Uuid,
            /// Its number, as people see it.
            pub number: i64,
            /// The buyer's own reference.
            #[serde(default)]
            pub reference: Option<String>,
            /// The registered customer; none for a guest.
            #[serde(default)]
            pub customer_id: Option<Uuid>,
            /// What it costs in all.
            pub total: Money,
            $($(#[$fmeta])* pub $field: $ty,)*
        }

        impl Event for $name {
            const TOPIC: &'static str = $topic;
            const AGGREGATE: &'static str = "order";

            fn aggregate_id(&self) -> Uuid {
                self.order_id
            }

            fn correlation_id(&self) -> Option<Uuid> {
                Some(self.order_id)
            }
        }
    };
}

order_event! {
    /// A checkout was accepted; nothing is reserved or paid yet.
    OrderPlaced, "order.placed" {
        /// When.
        placed_at: DateTime<Utc>,
    }
}

order_event! {
    /// Stock is sold and money captured.
    OrderConfirmed, "order.confirmed" {
        /// The lines.
        lines: Vec<OrderLine>,
        /// When.
        confirmed_at: DateTime<Utc>,
    }
}

order_event! {
    /// The order ended before shipping; stock and money are back.
    OrderCancelled, "order.cancelled" {
        /// Stable code: out_of_stock, payment_declined, payment_failed, reservation_expired, ...
        reason_code: String,
        /// For people.
        reason: String,
        /// When.
        cancelled_at: DateTime<Utc>,
    }
}
