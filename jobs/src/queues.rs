//! The queues' permanent names. A queue has its own concurrency; slow work does not share one with urgent work.

/// Checkout sagas.
pub const CHECKOUT: &str = "checkout";
/// What the payment gateway tells us, captures and refunds outside a checkout.
pub const PAYMENTS: &str = "payments";
/// One mail a job.
pub const MAIL: &str = "mail";
/// One delivery to one webhook endpoint a job.
pub const WEBHOOKS: &str = "webhooks";
/// Files coming in.
pub const IMPORTS: &str = "imports";
/// Parts of large files: a queue of their own, so that neither small files nor the end of a cancelled import wait for them.
pub const IMPORT_PARTS: &str = "import_parts";
/// Expiry, retention, reconciliation.
pub const HOUSEKEEPING: &str = "housekeeping";

/// Every queue of jobs proper; each pipeline has one more, see [`pipeline_queue`].
pub const ALL: &[&str] = &[CHECKOUT, PAYMENTS, MAIL, WEBHOOKS, IMPORTS, IMPORT_PARTS, HOUSEKEEPING];

/// The queue in which a pipeline's events wait when they ride on Postgres, parked ones included.
pub fn pipeline_queue(pipeline: &str) -> String {
    format!("events.{pipeline}")
}
