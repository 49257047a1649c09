//! Every event, one file per aggregate. The payloads are public: webhooks and outside consumers read them.

mod customer;
mod order;
mod product;
pub mod schemas;
mod stock;
mod webhook;

pub use customer::CustomerRegistered;
pub use order::{OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced};
pub use product::ProductUpdated;
pub use stock::{StockDepleted, StockReplenished};
pub use webhook::{EndpointDisabled, WebhookBody};

use crate::{Event, events_lane::PipelineSpec};

macro_rules! catalogue {
    ($($event:ident),+ $(,)?) => {
        /// Every topic, for endpoints to choose from and for the event catalogue.
        pub const TOPICS: &[&str] = &[$($event::TOPIC),+];

        /// The version of a topic's payload that this release writes, and the highest that it reads; 1 of one that it does not
        /// know.
        pub fn version(topic: &str) -> i16 {
            match topic {
                $($event::TOPIC => $event::VERSION,)+
                _ => 1,
            }
        }

        /// The schemas of every topic.
        pub fn schemas() -> Vec<schemas::EventSchemas> {
            vec![$(schemas::EventSchemas::of::<$event>()),+]
        }
    };
}

catalogue![
    CustomerRegistered,
    OrderPlaced,
    OrderConfirmed,
    OrderCancelled,
    ProductUpdated,
    StockDepleted,
    StockReplenished,
    EndpointDisabled,
];

/// The search index.
pub const INDEXING: PipelineSpec = PipelineSpec {
    name: "indexing",
    topics: &[ProductUpdated::TOPIC, StockDepleted::TOPIC, StockReplenished::TOPIC],
};
/// Mails that events cause.
pub const NOTIFICATIONS: PipelineSpec =
    PipelineSpec { name: "notifications", topics: &[OrderConfirmed::TOPIC, OrderCancelled::TOPIC] };
/// Signed callbacks.
pub const WEBHOOKS: PipelineSpec = PipelineSpec { name: "webhooks", topics: TOPICS };

/// Every pipeline: what a replay may name, and whose lag is measured.
pub const PIPELINES: &[PipelineSpec] = &[INDEXING, NOTIFICATIONS, WEBHOOKS];

/// A pipeline by its name.
pub fn pipeline(name: &str) -> Option<&'static PipelineSpec> {
    PIPELINES.iter().find(|pipeline| pipeline.name == name)
}
