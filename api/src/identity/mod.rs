//! Accounts, log-in, sessions.

pub mod bootstrap;
mod dto;
mod login;
mod register;
pub mod routes;
mod sessions;

pub use self::dto::{AuthDto, UserDto};
