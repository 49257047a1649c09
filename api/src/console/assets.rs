//! The files of the console; a test compares the list with the folder.

macro_rules! files {
    ($($path:literal),+ $(,)?) => {
        /// Path below the console, and content.
        pub(super) const ALL: &[(&str, &str)] = &[$(($path, include_str!(concat!("assets/", $path)))),+];
    };
}

files! {
    "css/base.css",
    "css/layout.css",
    "css/parts.css",
    "icon.svg",
    "index.html",
    "js/api.js",
    "js/bulk.js",
    "js/dialogs.js",
    "js/dom.js",
    "js/filters.js",
    "js/format.js",
    "js/frame.js",
    "js/live.js",
    "js/login.js",
    "js/main.js",
    "js/pages/audit.js",
    "js/pages/dead.js",
    "js/pages/dependencies.js",
    "js/pages/events.js",
    "js/pages/flow.js",
    "js/pages/flows.js",
    "js/pages/job.js",
    "js/pages/jobs.js",
    "js/pages/kinds.js",
    "js/pages/order.js",
    "js/pages/orders.js",
    "js/pages/overview.js",
    "js/pages/queue.js",
    "js/pages/queues.js",
    "js/pages/schedule.js",
    "js/pages/schedules.js",
    "js/pages/workers.js",
    "js/routes.js",
    "js/store.js",
    "js/ui.js",
}
