//! Orders: reading, following, and their trail.

pub mod dto;
pub mod find;
pub mod routes;
mod trail;
mod wait;
pub mod watch;
