//! One attempt in the caller's own task, with the timeout, the panics and the verdict of a worker.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{
    service::{Signals, bounded, caught},
    verdict::{Attempt, judge},
};
use crate::{
    contract::{JobResult, Policy},
    postgres::{Resolution, in_hand::Asked},
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
    let (asked, abandon) = (Asked::default(), CancellationToken::new());
    let signals = Signals { cancel, asked: &asked, abandon: &abandon };
    judge(Attempt { number, max, policy }, bounded(caught(run), policy.timeout, GRACE, signals).await)
}
