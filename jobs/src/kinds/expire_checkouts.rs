use serde::{Deserialize, Serialize};

use crate::{Job, queues};

/// Wakes the checkouts whose reservation has passed its deadline, so that they give the stock back and say so.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ExpireCheckouts {}

impl Job for ExpireCheckouts {
    const KIND: &'static str = "housekeeping.expire_checkouts";
    const QUEUE: &'static str = queues::HOUSEKEEPING;
}
