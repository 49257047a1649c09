//! The Postgres lane: jobs are rows of `jobs`, and everything that happens to one is a set-based statement here.
//!
//! ```text
//!  enqueue -> queued --claim--> running --complete--> job_history        (done, cancelled, discarded)
//!               ^                  |  `----bury-----> dead_letters       (attempts used up, permanent failure)
//!     promote --|                  |
//!           scheduled <--put_back--'                                     (retry, snooze, interrupted, handed back)
//! ```
//!
//! Every statement that ends a run is fenced by (id, claim, state = running): a worker that was taken for dead and comes
//! back changes nothing.

pub mod backend;
pub mod claim;
pub mod complete;
pub mod completer;
pub mod fetch;
pub(crate) mod held;
pub mod link;
pub mod notify;
pub mod promote;
pub mod session;
pub(crate) mod touched;

pub use claim::{Claimed, claim};
pub use complete::{Completion, Entry, PutBack, bury, complete, put_back};
pub use completer::{Completer, Resolution, Settled};
pub use link::{Link, LinkError};
pub use notify::{CHANNEL, Hints, Notifier};
