//! What a step gives, and how a transaction of it ends.

use waybill_jobs::{EnqueueError, Event, Failure, Finished, JobContext, Outcome, emit};
use waybill_schema::{CheckoutStep, Conn};

/// What to do after a step.
pub(super) enum Next {
    /// The order stands here now: go on.
    Step(CheckoutStep),
    /// The order must be read anew.
    Reload,
    /// The attempt is over.
    End(Outcome),
}

/// Why a transaction of the saga is rolled back.
pub(super) enum Abort {
    /// The order is not where it was, or the job is not ours.
    Lost,
    /// Something broke.
    Failed(Failure),
}

impl From<diesel::result::Error> for Abort {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<EnqueueError> for Abort {
    fn from(error: EnqueueError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Failure> for Abort {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A lost transaction is no error: the order is read anew.
pub(super) fn unless_lost<T>(result: Result<T, Abort>) -> Result<Option<T>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Abort::Lost) => Ok(None),
        Err(Abort::Failed(failure)) => Err(failure),
    }
}

/// Tells the world and ends the job, in the transaction open on `conn`. Both statements are sent before the first is
/// answered.
pub(super) async fn tell_and_finish<E: Event>(
    conn: &Conn,
    cx: &JobContext,
    event: &E,
) -> Result<Finished, Abort> {
    let (told, finished) = futures::join!(emit(conn, event, Some(cx.id)), cx.finish(conn, None));
    told?;
    Ok(finished?)
}
