//! Carts of guests and customers.

mod change;
mod dto;
pub mod routes;
