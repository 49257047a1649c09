//! Logs and metrics of the process.

mod logs;
mod metrics;
mod process;

pub use self::{
    logs::init,
    metrics::{metrics, render},
};
