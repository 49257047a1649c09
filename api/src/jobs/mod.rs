//! Jobs as their owners see them, and as operators look for them and change them.

mod accepted;
pub mod admin;
pub mod bulk;
pub mod detail;
pub mod dto;
pub mod operate;
pub mod routes;
pub mod single;
pub mod watch;

pub use self::accepted::accepted;
