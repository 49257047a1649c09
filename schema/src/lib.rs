//! Waybill's data: diesel tables, domain types that cannot hold an illegal state, and one module of rows and queries
//! per aggregate. Uses no other crate of the workspace.

pub mod carts;
pub mod catalogue;
pub mod checks;
pub mod db;
pub mod domain;
pub mod effects;
pub mod idempotency;
pub mod imports;
pub mod inventory;
pub mod mails;
pub mod orders;
pub mod partitions;
pub mod payments;
pub mod schedules;
pub mod search;
pub mod sql;
pub mod system;
pub mod tables;
pub mod trail;
pub mod users;
pub mod webhooks;

/// The columns that `jobs`, `job_history` and `dead_letters` share, but for `failures`: what a job takes along when it moves
/// from one to another. For `concat!` in the text of a statement.
#[macro_export]
macro_rules! job_columns {
    () => {
        "id, kind, version, queue, priority, attempt, max_attempts, snoozes, claim, worker_id, claimed_at, run_at,
         partition_key, correlation_id, causation_id, owner_id, traceparent, payload, progress, created_at, limit_key,
         flow_id, step, subject_id, compensates, cancel, undo, scheduled, unique_key"
    };
}

pub use db::{Conn, Pool};
pub use domain::{
    currency::Currency,
    email::Email,
    ids::new_id,
    money::{Money, UnitPrice},
    order_status::{CheckoutStep, OrderStatus},
    payment_status::PaymentStatus,
    quantity::Quantity,
    sku::Sku,
};
pub use sql::sql;
