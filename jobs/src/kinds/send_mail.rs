use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waybill_schema::system::outages::MAIL_SERVER;

use crate::{Job, Policy, queues};

/// Renders and sends one row of `mails`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SendMail {
    /// The mail.
    pub mail_id: Uuid,
}

impl Job for SendMail {
    const KIND: &'static str = "mail.send";
    const QUEUE: &'static str = queues::MAIL;
    // Every mail needs it, from its first step.
    const NEEDS: &'static [&'static str] = &[MAIL_SERVER];
    // Mail servers are away for hours: 15 attempts reach about eight of them.
    const POLICY: Policy = Policy {
        max_attempts: 15,
        backoff: Duration::from_secs(2),
        backoff_cap: Duration::from_hours(1),
        timeout: Duration::from_mins(1),
    };
}
