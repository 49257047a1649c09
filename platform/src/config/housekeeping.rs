use std::time::Duration;

use super::reader::Reader;

/// Retention, and the alarm for orders that stand still.
#[derive(Debug, Clone)]
pub struct HousekeepingConfig {
    /// Days of finished jobs, published events and inbox rows.
    pub keep_days: i32,
    /// Days of schedules' fires.
    pub keep_fires_days: i32,
    /// How long after its deadline a pending order counts as stuck.
    pub stuck_after: Duration,
}

impl HousekeepingConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("housekeeping");
        Self {
            keep_days: section.number("keep_days", 1..=3_650),
            keep_fires_days: section.number("keep_fires_days", 1..=3_650),
            stuck_after: section.duration("stuck_after", "1m"..="7d"),
        }
    }
}
