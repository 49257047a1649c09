use std::{net::SocketAddr, time::Duration};

use super::reader::Reader;

/// The process that fires schedules and keeps house. Any number may run.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// Address of health and metrics; port 0 takes a free one and announces it.
    pub ops_listen: SocketAddr,
    /// How often schedules, expired reservations and dead workers are looked for.
    pub tick: Duration,
}

impl SchedulerConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("scheduler");
        Self { ops_listen: section.address("ops_listen"), tick: section.duration("tick", "100ms"..="1m") }
    }
}
