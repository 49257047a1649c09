//! What can go wrong with processes, services, disks and clocks, while orders come in. Minutes, so `cargo xtask test` leaves
//! it out: `cargo xtask test faults` runs it, and `cargo xtask soak` mixes all of it for as long as it is told to.
//!
//! After each fault: every order that was accepted is confirmed, none exists twice, money, stock and mails are those of the
//! orders, every check of the system holds, nothing is left to do. The time to recovery is printed, one line each.
#![allow(clippy::unwrap_used, clippy::panic)]

mod books;
mod clock;
mod deploys;
mod disk;
mod events;
mod load;
mod outages;
mod processes;
mod services;
mod soak;
