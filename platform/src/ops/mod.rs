//! What a platform asks of a process: does it live, can it take work, how is it doing.

mod readiness;
mod routes;

pub use self::{
    readiness::{CheckReport, Readiness, Report, Status},
    routes::{routes, serve},
};
