//! What a job passes through between its claim and its handler: apalis' parallelize and catch-panic layers, and ours.
//!
//! `parallelize -> observe -> settle -> deadline -> catch_panic -> run`

mod deadline;
mod observe;
mod run;
mod settle;

use std::{pin::Pin, sync::Arc, time::Duration};

use apalis_core::error::BoxDynError;
use waybill_schema::Pool;

pub use deadline::DeadlineLayer;
#[cfg(feature = "testing")]
pub(super) use deadline::{Signals, bounded};
pub use observe::ObserveLayer;
pub use run::RunJob;
pub use settle::{Ended, SettleLayer};

use crate::{
    flows::Settler,
    postgres::{Completer, Notifier},
    registry::Registry,
};

/// What the layers of a session share.
pub struct Shared {
    /// Which code runs which kind.
    pub registry: Arc<Registry>,
    /// Connections for the handlers.
    pub pool: Pool,
    /// Makes outcomes durable.
    pub completer: Completer,
    /// Tells of queues with new work.
    pub notifier: Notifier,
    /// Looks after flows whose jobs have ended.
    pub settler: Settler,
    /// How long a handler has to end by itself once its token is cancelled.
    pub cancel_grace: Duration,
}

type Future<T> = Pin<Box<dyn std::future::Future<Output = Result<T, BoxDynError>> + Send>>;
