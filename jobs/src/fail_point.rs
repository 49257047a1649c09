//! What happens at the places where a test can make a process die, fail or stand still. The places, and how a test names them,
//! are in the `fail_point` module of `waybill-workers`; compiled in with the feature `fail-points` only, and never in a release.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use diesel::QueryResult;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::contract::Failure;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Action {
    Kill,
    Error,
    Pause(Duration),
    Block(Duration),
}

#[derive(Debug)]
struct Points {
    by_name: HashMap<String, (Action, u32)>,
    folder: Option<PathBuf>,
    struck: Mutex<HashMap<String, u32>>,
}

/// Does at `name` what the environment says.
///
/// # Errors
/// Where it says `error`.
pub async fn strike(name: &str) -> Result<(), Failure> {
    static POINTS: OnceLock<Points> = OnceLock::new();
    let points = POINTS.get_or_init(Points::from_env);
    let Some(&(action, times)) = points.by_name.get(name) else { return Ok(()) };
    if !points.take(name, times) {
        return Ok(());
    }
    tracing::warn!(name, ?action, "fail point");
    match action {
        Action::Error => Err(Failure::retryable(format!("fail point {name}"))),
        Action::Pause(time) => {
            tokio::time::sleep(time).await;
            Ok(())
        }
        // As a handler does that computes without a pause: nothing else gets the thread.
        Action::Block(time) => {
            std::thread::sleep(time);
            Ok(())
        }
        Action::Kill => {
            let _ = kill(Pid::this(), Signal::SIGKILL);
            // The signal takes effect before this is of any consequence.
            std::future::pending().await
        }
    }
}

/// [`strike`] between statements.
///
/// # Errors
/// As there.
pub(crate) async fn strike_query(name: &str) -> QueryResult<()> {
    strike(name).await.map_err(|failure| diesel::result::Error::QueryBuilderError(failure.message.into()))
}

impl Points {
    fn from_env() -> Self {
        let text = std::env::var("WAYBILL_FAIL_POINTS").unwrap_or_default();
        let by_name = parse(&text).unwrap_or_else(|entry| {
            tracing::error!(entry, "WAYBILL_FAIL_POINTS cannot be read: no fail points");
            HashMap::new()
        });
        let folder = std::env::var_os("WAYBILL_FAIL_POINTS_DIR").map(PathBuf::from);
        Self { by_name, folder, struck: Mutex::default() }
    }

    /// Takes one of the strikes that are left.
    fn take(&self, name: &str, times: u32) -> bool {
        let Some(folder) = &self.folder else {
            let mut struck = self.struck.lock().unwrap_or_else(PoisonError::into_inner);
            let count = struck.entry(name.to_owned()).or_default();
            *count += 1;
            return *count <= times;
        };
        // Creating a file that must not exist is the one count that survives SIGKILL and races with nobody.
        (1..=times).any(|n| {
            let file = folder.join(format!("{name}.{n}"));
            std::fs::File::options().write(true).create_new(true).open(file).is_ok()
        })
    }
}

fn parse(text: &str) -> Result<HashMap<String, (Action, u32)>, &str> {
    text.split(';').map(str::trim).filter(|entry| !entry.is_empty()).map(|e| entry(e).ok_or(e)).collect()
}

fn entry(text: &str) -> Option<(String, (Action, u32))> {
    let (name, what) = text.split_once('=')?;
    let (action, times) = match what.split_once(':') {
        Some((action, times)) => (action, times.parse().ok()?),
        None => (what, 1),
    };
    let action = match action {
        "kill" => Action::Kill,
        "error" => Action::Error,
        timed => {
            let (how, ms) = timed.strip_suffix(')')?.split_once('(')?;
            let time = Duration::from_millis(ms.parse().ok()?);
            match how {
                "pause" => Action::Pause(time),
                "block" => Action::Block(time),
                _ => return None,
            }
        }
    };
    Some((name.to_owned(), (action, times)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_what_is_documented() {
        let points =
            parse("checkout.after_reserve=kill:1; after_capture_call=error:2;x=pause(50);y=block(50)")
                .unwrap();
        assert_eq!(points["checkout.after_reserve"], (Action::Kill, 1));
        assert_eq!(points["after_capture_call"], (Action::Error, 2));
        assert_eq!(points["x"], (Action::Pause(Duration::from_millis(50)), 1));
        assert_eq!(points["y"], (Action::Block(Duration::from_millis(50)), 1));
        for bad in ["x", "x=explode", "x=kill:often", "x=pause(soon)"] {
            assert_eq!(parse(bad).unwrap_err(), bad);
        }
    }

    #[test]
    fn the_count_holds_over_processes() {
        let folder = tempfile::tempdir().unwrap();
        let process = || Points {
            by_name: HashMap::new(),
            folder: Some(folder.path().to_owned()),
            struck: Mutex::default(),
        };
        assert!(process().take("x", 2));
        assert!(process().take("x", 2));
        assert!(!process().take("x", 2));
        assert!(process().take("y", 1));
    }
}
