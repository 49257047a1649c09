//! Domain types: parsed once at the edge, legal ever after.

pub mod currency;
pub mod email;
pub mod ids;
pub mod money;
pub mod order_status;
pub mod payment_status;
pub mod quantity;
pub mod sku;
pub mod text_enum;
