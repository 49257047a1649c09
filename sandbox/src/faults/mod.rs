//! Scripted faults: what can go wrong, and the list that says when.

mod list;
mod spec;

use crate::model::{Operation, Token};

pub(crate) use list::{Fault, Faults, Waiting};
pub use spec::{FaultKind, FaultSpec};

/// When a fault is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A request that is about to be carried out.
    Fresh,
    /// A request whose stored answer is about to be repeated: only the way to the client can fail.
    Replay,
    /// An effect whose webhook is about to be queued.
    Webhook,
}

/// What a request is about, for matching.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) operation: Operation,
    pub(crate) reference: &'a str,
    pub(crate) token: Token,
}
