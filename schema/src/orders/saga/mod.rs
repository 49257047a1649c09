//! The moves of the checkout saga.
//!
//! Each move is one statement that changes the order, writes its history and everything else that becomes true with it:
//! the payment, the effect that was answered and the one that is asked for next. It does so only if the order stands
//! where the mover thinks (`step = expected`) and the mover still holds its job (fencing token), so any number of
//! workers may believe that an order is theirs and only one moves it. A move that is not made changes nothing and
//! says so with `None`.
//!
//! The sums: an order without trouble takes three commits ([`reserve`], [`authorized`], [`complete`]).

mod authorized;
mod cancel;
mod complete;
mod load;
mod orphans;
mod reason;
mod reserve;
mod turn_back;

pub use authorized::{Authorized, authorized};
pub use cancel::{Cancelled, cancel};
pub use complete::{Completed, Completion, complete};
pub use load::{SagaLine, SagaOrder, SagaPayment, load};
pub use orphans::{Orphan, let_go_expired, lock_orphans};
pub use reason::{ReasonCode, note};
pub use reserve::{Reservation, Reserved, reserve};
pub use turn_back::{PaymentRefused, TurnBack, turn_back};

use serde_json::Value;
use uuid::Uuid;

use crate::effects::Call;

/// The attempt that makes a move.
#[derive(Debug, Clone, Copy)]
pub struct Mover {
    /// The job.
    pub job_id: Uuid,
    /// Its fencing token.
    pub claim: i64,
    /// For the history.
    pub attempt: i16,
}

/// The answer to an outside effect, written with the move that it allows.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// The effect.
    pub key: &'a str,
    /// The answer.
    pub response: &'a Value,
    /// What came of the call that the ledger has as sent, and of the questions after it.
    pub calls: &'a [Call],
}
