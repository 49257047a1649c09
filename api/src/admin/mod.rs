//! What those who run the shop do.

pub mod api_keys;
pub mod categories;
mod changed;
pub mod people;
pub mod products;
pub mod stock;
pub mod variants;

use changed::changed;
