//! One attempt in the caller's own task, with the timeout, the panics and the verdict of a worker.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, time::Duration};

use apalis_core::error::BoxDynError;
use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    service::{Signals, bounded},
    verdict::{Attempt, Broken, judge},
};
use crate::{
    contract::{JobResult, Policy},
    postgres::Resolution,
};

/// How long a handler has to end by itself after its timeout.
const GRACE: Duration = Duration::from_millis(200);

/// Runs attempt `number` of `max`; `cancel` is the handler's token.
pub(crate) async fn attempt(
    run: impl Future<Output = JobResult>,
    (number, max): (i16, i16),
    policy: Policy,
    cancel: &CancellationToken,
) -> (&'static str, Option<Resolution>) {
    let caught = async {
        let caught: Result<JobResult, Box<dyn Any + Send>> = AssertUnwindSafe(run).catch_unwind().await;
        caught.map_err(|panic| BoxDynError::from(Broken::panicked(&panic)))
    };
    let never = CancellationToken::new();
    let signals = Signals { cancel, asked: &never, abandon: &never };
    judge(Attempt { number, max, policy }, bounded(caught, policy.timeout, GRACE, signals).await)
}
