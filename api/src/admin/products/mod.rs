//! Keeping products.

mod checks;
mod dto;
pub mod routes;
mod write;

pub(super) use self::{
    checks::{check_option_values, position_of},
    dto::CreateVariant,
    write::{check_skus, lock, refused, reply},
};
