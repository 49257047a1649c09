//! Work that comes round, as administrators manage it.

mod change;
mod dto;
pub mod routes;
