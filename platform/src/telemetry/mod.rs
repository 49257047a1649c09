//! Logs, metrics and traces of the process.

mod logs;
mod metrics;
mod process;
mod traces;

pub use self::{
    logs::init,
    metrics::{metrics, render},
    traces::flush,
};
