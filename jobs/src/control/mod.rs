//! What holds jobs back while everything runs: pauses, limits, dependencies that are down. Set through
//! [`waybill_schema::system::controls`], obeyed by the claim.

mod declare;

pub use declare::{Declared, declare};
pub use waybill_schema::system::controls::{
    Dependency, KindControl, Limits, Places, QueueControl, Rate, default_limits, dependencies,
    dependency_down, dependency_up, kind, kinds, pause_kind, pause_queue, places, queue, queues, resume_kind,
    resume_queue, set_limits, set_places,
};
