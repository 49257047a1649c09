//! Turning a cart, or lines, into an order.

mod accept;
mod address;
mod buyer;
mod dto;
mod guest;
mod parse;
pub(crate) mod price;
pub mod routes;
