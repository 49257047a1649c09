//! The proof that a worker lives: a row with a lease, and an advisory lock that falls when the process dies.
//!
//! Both are kept over one connection outside the pool, which also listens for hints. When it breaks, the worker has the
//! grace to come back with another before it asks its handlers to stop: by then others may see the lock free for as long
//! and take the jobs. Whether they did, the row tells: it is gone then, and the worker starts over under a new id.

mod beat;
mod row;

pub use beat::{Pulse, Timing};
pub use row::{Identity, host};
