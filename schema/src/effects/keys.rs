//! The keys of an order's effects. They are in the database and at the gateway: they never change.

use uuid::Uuid;

/// Holding the amount.
pub fn authorize_key(order_id: Uuid) -> String {
    format!("order:{order_id}:authorize")
}

/// Taking what is held.
pub fn capture_key(order_id: Uuid) -> String {
    format!("order:{order_id}:capture")
}

/// Letting go what is held.
pub fn void_key(order_id: Uuid) -> String {
    format!("order:{order_id}:void")
}

/// Giving back all that was taken.
pub fn refund_key(order_id: Uuid) -> String {
    format!("order:{order_id}:refund")
}
