//! Waiting for a condition with a deadline.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(25);

/// Asks until the answer is `Some`, an error, or the deadline has passed.
pub async fn until<T, F, Fut>(what: &str, deadline: Duration, mut ask: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() >= end {
            bail!("{what} did not happen within {} s", deadline.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
