//! Seeing and correcting stock.

mod adjust;
mod dto;
pub mod routes;
