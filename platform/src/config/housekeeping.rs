use std::time::Duration;

use super::reader::Reader;

/// Retention, and the alarm for orders that stand still.
#[derive(Debug, Clone)]
pub struct HousekeepingConfig {
    /// Days of finished jobs, published events and inbox rows.
    pub keep_days: i32,
    /// Days of schedules' fires.
    pub keep_fires_days: i32,
    /// Days of mails that were sent or given up; at least as long as events.
    pub keep_mails_days: i32,
    /// Days of webhook deliveries that are over; at least as long as events.
    pub keep_deliveries_days: i32,
    /// Days of imports that are over.
    pub keep_imports_days: i32,
    /// Days ahead that partitions are made.
    pub partitions_ahead: i32,
    /// How long after its deadline a pending order counts as stuck.
    pub stuck_after: Duration,
}

impl HousekeepingConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("housekeeping");
        Self {
            keep_days: section.number("keep_days", 1..=3_650),
            keep_fires_days: section.number("keep_fires_days", 1..=3_650),
            keep_mails_days: section.number("keep_mails_days", 7..=3_650),
            keep_deliveries_days: section.number("keep_deliveries_days", 1..=3_650),
            keep_imports_days: section.number("keep_imports_days", 1..=3_650),
            partitions_ahead: section.number("partitions_ahead", 2..=60),
            stuck_after: section.duration("stuck_after", "1m"..="7d"),
        }
    }
}
