//! The job platform as operators see it: workers, the outbox, dead letters.

pub mod dead_letters;
pub mod workers;
