//! The API against a database of its own, request by request, through everything but the socket.
#![allow(clippy::unwrap_used, clippy::panic)]

mod backpressure;
mod carts;
mod catalogue;
mod checkout;
mod console;
mod errors;
mod gateways;
mod identity;
mod if_match;
mod imports;
mod keys;
mod login_limits;
mod nul;
mod operators;
mod orders;
mod products;
mod schedules;
mod search;
mod shop;
mod stock;
mod support;
mod system;
mod webhooks;
