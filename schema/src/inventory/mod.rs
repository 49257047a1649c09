//! Rows and queries of inventory.

pub mod allocation;
pub mod levels;
pub mod reservations;
pub mod sync;

pub use allocation::{Allocation, Flip, Level, Need, Take, allocate};
pub use reservations::{lock_levels, needs, read_levels, release};
