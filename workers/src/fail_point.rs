//! Places where a test can make a worker die, fail or stand still.
//!
//! Compiled in with the feature `fail-points` only, and never in a release. `WAYBILL_FAIL_POINTS` says what happens where:
//!
//! ```text
//! WAYBILL_FAIL_POINTS="checkout.after_reserve=kill:1;after_capture_call=error:2;checkout.before_complete=pause(5000)"
//! ```
//!
//! `kill` sends the process SIGKILL; `error` fails the attempt; `pause(ms)` waits; `block(ms)` waits and never yields. `:n` is how often in all, once if it is
//! left out. `WAYBILL_FAIL_POINTS_DIR` names a folder in which every strike leaves a file, so that the count holds over
//! processes and a worker that was started again does not die again; without it each process counts for itself.
//!
//! The points, those of an order and of an import in parts in the order in which they pass them:
//!
//! | point | where |
//! |---|---|
//! | `checkout.loaded` | the order is read, nothing is done |
//! | `checkout.before_reserve` | before the transaction that reserves |
//! | `checkout.reserving` | in it, before its commit |
//! | `checkout.after_reserve` | after its commit; the authorization is announced in the ledger |
//! | `before_authorize_call` | before the authorization is sent |
//! | `after_authorize_call` | after its answer came, before it is written |
//! | `checkout.after_authorized` | after the answer's commit; the capture is announced in the ledger |
//! | `before_capture_call`, `after_capture_call` | around the capture |
//! | `checkout.before_complete` | before the transaction that sells the stock and confirms |
//! | `checkout.completing` | in it, before its commit |
//! | `checkout.after_complete` | after its commit |
//! | `checkout.before_turn_back`, `checkout.turning_back`, `checkout.after_turn_back` | around the one that gives up and releases the stock |
//! | `checkout.before_resolve`, `checkout.after_resolve` | around asking for, and writing, a lost answer while giving up |
//! | `before_void_call`, `after_void_call` | around letting go what is held |
//! | `before_refund_call`, `after_refund_call` | around giving back what was taken |
//! | `checkout.after_money_back` | after that answer's commit |
//! | `checkout.before_cancel`, `checkout.cancelling`, `checkout.after_cancel` | around the transaction that cancels |
//! | `reindex.after_step` | after a step of a reindex and its progress are written |
//! | `import.after_begin` | an import's workflow is started |
//! | `import.before_split`, `import.after_split` | around the transaction that records its parts, whose files are stored |
//! | `import.part_moved` | after the commit of a chunk of a part |
//! | `import.before_merge`, `import.after_merge` | around the transaction that joins the parts |
//! | `import.before_clean` | before their files are removed |
//! | `outage.before_word` | a dependency was found down, the database is not told yet |
//! | `gateway_event.before_commit`, `gateway_event.after_commit` | around what a gateway's webhook changes |
//! | `flow.settling`, `flow.settled` | before and after the commit of what is to do for a batch or workflow |
//! | `replay.after_step` | after each thousand events of a replay, committed with its cursor |
//! | `republish.published`, `republish.after_step` | after the broker confirmed a step of a republish, and after that is noted |
//! | `reseal.after_one` | after the secret of an endpoint is sealed under the newest key |
//! | `claim.taken.<queue>` | after the commit of a claim that found jobs, none of which has begun |
//! | `outcomes.answered`, `outcomes.stored` | before and after the commit of outcomes that handlers have answered with |
//! | `claim.rows_over` | before the claim that removes the rows of claims whose jobs have all ended |

/// Passes a fail point: `fail_point!("checkout.after_reserve")`, or with a format and its arguments. To be used in async
/// functions whose error is made from [`waybill_jobs::Failure`].
#[macro_export]
macro_rules! fail_point {
    ($($name:tt)+) => {
        #[cfg(feature = "fail-points")]
        $crate::fail_point::strike(&format!($($name)+)).await?;
    };
}

#[cfg(feature = "fail-points")]
pub use waybill_jobs::fail_point::strike;
