//! The job platform as operators see it: workers, the outbox, jobs and dead letters, what they may change while everything
//! runs, and who changed what.

pub mod actions;
pub mod controls;
pub mod dead_letters;
pub mod jobs;
pub mod load;
pub mod obstacles;
pub mod outages;
pub mod pauses;
pub mod places;
pub mod rework;
pub mod workers;
