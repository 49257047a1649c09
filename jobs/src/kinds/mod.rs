//! Every kind of job, one file each; the steps of a workflow share one.

mod check_invariants;
mod deliver_webhook;
mod expire_checkouts;
mod gateway_event;
mod import_parts;
pub mod list;
mod maintain;
mod reindex_products;
mod replay_events;
mod republish_events;
mod run_checkout;
mod run_import;
mod send_mail;
mod watch_checkouts;

pub use check_invariants::CheckInvariants;
pub use deliver_webhook::DeliverWebhook;
pub use expire_checkouts::ExpireCheckouts;
pub use gateway_event::HandleGatewayEvent;
pub use import_parts::{CleanImport, ImportPart, MergeImport, SplitImport};
pub use maintain::Maintain;
pub use reindex_products::ReindexProducts;
pub use replay_events::ReplayEvents;
pub use republish_events::RepublishEvents;
pub use run_checkout::RunCheckout;
pub use run_import::RunImport;
pub use send_mail::SendMail;
pub use watch_checkouts::WatchCheckouts;
