//! Webhooks out: who is told what happened, and how that went.

mod check;
mod deliver;
mod dto;
pub mod routes;
