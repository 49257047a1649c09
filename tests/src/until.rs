//! Waiting for conditions.

use std::time::{Duration, Instant};

/// Longest wait for anything: far beyond what a slow machine needs, short of what a hung test may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `probe` until it answers with something, and returns that.
///
/// # Errors
/// When it has not after [`PATIENCE`]; names `what` was waited for and the newest reason it gave.
pub async fn until<T>(
    what: &str,
    mut probe: impl AsyncFnMut() -> anyhow::Result<Result<T, String>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match probe().await? {
            Ok(found) => return Ok(found),
            Err(reason) if Instant::now() > deadline => anyhow::bail!("waited in vain for {what}: {reason}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
}
