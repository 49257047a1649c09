use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Job, queues};

/// Handles one webhook of a payment gateway, already verified and stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HandleGatewayEvent {
    /// Which gateway.
    pub gateway: String,
    /// The gateway's id of the event.
    pub event_id: String,
    /// The order it is about, when the event says so.
    #[serde(default)]
    pub order_id: Option<Uuid>,
}

impl Job for HandleGatewayEvent {
    const KIND: &'static str = "payments.gateway_event";
    const QUEUE: &'static str = queues::PAYMENTS;

    fn correlation_id(&self) -> Option<Uuid> {
        self.order_id
    }
}
