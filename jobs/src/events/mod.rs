//! Every event, one file per aggregate. The payloads are public: webhooks and outside consumers read them.

mod customer;
mod order;
mod product;
mod stock;

pub use customer::CustomerRegistered;
pub use order::{OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced};
pub use product::ProductUpdated;
pub use stock::{StockDepleted, StockReplenished};

use crate::Event;

/// Every topic, for endpoints to choose from and for the event catalogue.
pub const TOPICS: &[&str] = &[
    CustomerRegistered::TOPIC,
    OrderPlaced::TOPIC,
    OrderConfirmed::TOPIC,
    OrderCancelled::TOPIC,
    ProductUpdated::TOPIC,
    StockDepleted::TOPIC,
    StockReplenished::TOPIC,
];
