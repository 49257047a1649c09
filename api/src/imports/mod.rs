//! Files of products and stock coming in.

mod create;
mod dto;
mod errors;
pub mod routes;
mod upload;
