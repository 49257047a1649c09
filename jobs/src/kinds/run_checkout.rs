use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Job, Policy, queues};

/// Carries one order from accepted to confirmed, or back to nothing: reserve, authorize, capture, confirm.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunCheckout {
    /// The order.
    pub order_id: Uuid,
}

impl Job for RunCheckout {
    const KIND: &'static str = "checkout.run";
    const QUEUE: &'static str = queues::CHECKOUT;
    // Housekeeping finds a pending order without its job, and goes on with it.
    const CARRIES_ORDER: bool = true;
    // It names nothing in NEEDS: only a call to the gateway needs the gateway, and its handler waits when it gets there. Whoever
    // holds the kind as a whole keeps stock beyond its deadline.
    //
    // A buyer waits: the first retries come fast; 12 of them reach past a gateway outage of some minutes, after which
    // the reservation's deadline decides.
    const POLICY: Policy = Policy {
        max_attempts: 12,
        backoff: Duration::from_millis(250),
        backoff_cap: Duration::from_mins(1),
        timeout: Duration::from_mins(1),
    };

    fn correlation_id(&self) -> Option<Uuid> {
        Some(self.order_id)
    }
}
