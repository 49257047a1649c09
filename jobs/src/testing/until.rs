use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

/// How long a condition may take to come true. Generous: it only ends tests that fail.
const DEADLINE: Duration = Duration::from_mins(1);

/// Waits until `condition` holds; panics with `what` after a minute.
#[track_caller]
pub fn until<F, Fut>(what: &str, mut condition: F) -> impl Future<Output = ()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    until_some(what, move || {
        let held = condition();
        async move { held.await.then_some(()) }
    })
}

/// Waits until `find` finds something; panics with `what` after a minute.
pub async fn until_some<T, F, Fut>(what: &str, mut find: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = find().await {
            return found;
        }
        assert!(Instant::now() < end, "gave up waiting until {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
