//! Jobs as their owners see them, and as operators look for them and change them.

pub mod admin;
pub mod bulk;
pub mod dto;
pub mod follow;
pub mod operate;
pub mod routes;
mod stream;
