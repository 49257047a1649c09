//! Every kind of job, one file each; the steps of a workflow share one.

mod check_invariants;
mod deliver_webhook;
mod expire_checkouts;
mod gateway_event;
mod import_parts;
pub mod list;
mod maintain;
mod reindex_products;
mod remove_orphan_files;
mod replay_events;
mod republish_events;
mod run_checkout;
mod run_import;
mod send_mail;
mod watch_checkouts;

use std::time::Duration;

use crate::Policy;

/// Of kinds that take minutes, and that go on from where an earlier attempt stopped: a late attempt only has the rest to do.
const IN_STRETCHES: Policy = Policy {
    max_attempts: 10,
    backoff: Duration::from_secs(1),
    backoff_cap: Duration::from_mins(1),
    timeout: Duration::from_hours(1),
};

/// Names each kind once, for those who import it and for those who look it up by its name.
macro_rules! kinds {
    ($($module:ident::$kind:ident,)+) => {
        $(pub use $module::$kind;)+

        /// Every kind of this binary, in the order of their names.
        const ALL: &[list::KindInfo] = &[$(list::KindInfo::of::<$kind>()),+];
    };
}

kinds! {
    run_checkout::RunCheckout,
    replay_events::ReplayEvents,
    republish_events::RepublishEvents,
    check_invariants::CheckInvariants,
    expire_checkouts::ExpireCheckouts,
    maintain::Maintain,
    remove_orphan_files::RemoveOrphanFiles,
    watch_checkouts::WatchCheckouts,
    import_parts::CleanImport,
    import_parts::MergeImport,
    import_parts::ImportPart,
    run_import::RunImport,
    import_parts::SplitImport,
    send_mail::SendMail,
    gateway_event::HandleGatewayEvent,
    reindex_products::ReindexProducts,
    deliver_webhook::DeliverWebhook,
}
