//! Orders: placing, reading, and the moves of the checkout saga.

pub mod place;
pub mod read;
pub mod saga;

pub use place::{NewLine, NewOrder, PlaceError, Placed, buyer_email, place};
pub use read::{LineRow, OrderRow, PaymentSummary};
