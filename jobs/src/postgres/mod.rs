//! The Postgres lane: jobs are rows of `jobs`, and everything that happens to one is a set-based statement here.
//!
//! ```text
//!  enqueue -> queued --claim--> running --complete--> job_history        (done, cancelled, discarded)
//!               ^                  |  `----bury-----> dead_letters       (attempts used up, permanent failure)
//!     promote --|                  |
//!           scheduled <--put_back--'                                     (retry, snooze, interrupted, handed back)
//! ```
//!
//! A queued job that a claim would meet in vain again and again is held (see [`holds`]) until the reason is gone.
//!
//! Every statement that ends a run is fenced by (id, claim, state = running): a worker that was taken for dead and comes
//! back changes nothing.

pub(crate) mod asked;
pub mod backend;
pub mod claim;
pub mod complete;
pub mod completer;
pub mod fetch;
pub(crate) mod held;
pub mod holds;
pub mod in_hand;
mod limited;
pub mod link;
pub(crate) mod locked;
pub mod notify;
pub(crate) mod outcomes;
mod probes;
pub mod promote;
pub mod put_back;
pub mod session;
pub mod suspects;
pub mod tid;
pub(crate) mod touched;
pub mod unknown;

pub use claim::{Ask, Claimed, Claims, claim, claims};
pub use complete::{Completion, Entry, bury, complete};
pub use completer::{Completer, Resolution, Settled};
pub use link::{Link, LinkError};
pub use notify::{CHANNEL, Hints, Notifier};
pub use put_back::{PutBack, put_back};
pub use tid::Tid;
