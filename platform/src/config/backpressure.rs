use std::time::Duration;

use super::reader::Reader;

/// When the API refuses work because too much of it is waiting.
#[derive(Debug, Clone)]
pub struct BackpressureConfig {
    /// Whether it refuses at all.
    pub enabled: bool,
    /// How often a process measures.
    pub every: Duration,
    /// Longest time a client is told to stay away.
    pub max_retry_after: Duration,
    /// Uploads of files.
    pub bulk: ClassLimits,
    /// Other writes that cause jobs.
    pub writes: ClassLimits,
    /// Orders.
    pub orders: ClassLimits,
}

/// How old the oldest due job may be before a class of requests is refused; zero for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassLimits {
    /// In the queues that the class adds to.
    pub queue: Duration,
    /// In the queue of the checkouts, which every other class gives way to.
    pub checkout: Duration,
}

impl BackpressureConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let bulk = ClassLimits::read(reader, "backpressure.bulk");
        let writes = ClassLimits::read(reader, "backpressure.writes");
        let orders = ClassLimits::read(reader, "backpressure.orders");
        let mut section = reader.section("backpressure");
        Self {
            enabled: section.boolean("enabled"),
            every: section.duration("every", "100ms"..="1m"),
            max_retry_after: section.duration("max_retry_after", "1s"..="1h"),
            bulk,
            writes,
            orders,
        }
    }
}

impl ClassLimits {
    fn read(reader: &mut Reader<'_>, name: &'static str) -> Self {
        let mut section = reader.section(name);
        Self {
            queue: section.duration("queue", "0s"..="1d"),
            checkout: section.duration("checkout", "0s"..="1d"),
        }
    }
}
