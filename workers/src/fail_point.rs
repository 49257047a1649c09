//! Places where a test can make a worker die, fail or stand still.
//!
//! Compiled in with the feature `fail-points` only, and never in a release. `WAYBILL_FAIL_POINTS` says what happens where:
//!
//! ```text
//! WAYBILL_FAIL_POINTS="checkout.after_reserve=kill:1;after_capture_call=error:2;checkout.before_complete=pause(5000)"
//! ```
//!
//! `kill` sends the process SIGKILL; `error` fails the attempt; `pause(ms)` waits. `:n` is how often in all, once if it is
//! left out. `WAYBILL_FAIL_POINTS_DIR` names a folder in which every strike leaves a file, so that the count holds over
//! processes and a worker that was started again does not die again; without it each process counts for itself.
//!
//! The points, those of an order and of an import in parts in the order in which they pass them:
//!
//! | point | where |
//! |---|---|
//! | `checkout.loaded` | the order is read, nothing is done |
//! | `checkout.before_reserve` | before the transaction that reserves |
//! | `checkout.reserving` | in it, before its commit |
//! | `checkout.after_reserve` | after its commit; the authorization is announced in the ledger |
//! | `before_authorize_call` | before the authorization is sent |
//! | `after_authorize_call` | after its answer came, before it is written |
//! | `checkout.after_authorized` | after the answer's commit; the capture is announced in the ledger |
//! | `before_capture_call`, `after_capture_call` | around the capture |
//! | `checkout.before_complete` | before the transaction that sells the stock and confirms |
//! | `checkout.completing` | in it, before its commit |
//! | `checkout.after_complete` | after its commit |
//! | `checkout.before_turn_back`, `checkout.turning_back`, `checkout.after_turn_back` | around the one that gives up and releases the stock |
//! | `checkout.before_resolve`, `checkout.after_resolve` | around asking for, and writing, a lost answer while giving up |
//! | `before_void_call`, `after_void_call` | around letting go what is held |
//! | `before_refund_call`, `after_refund_call` | around giving back what was taken |
//! | `checkout.after_money_back` | after that answer's commit |
//! | `checkout.before_cancel`, `checkout.cancelling`, `checkout.after_cancel` | around the transaction that cancels |
//! | `reindex.after_step` | after a step of a reindex and its progress are written |
//! | `import.after_begin` | an import's workflow is started |
//! | `import.before_split`, `import.after_split` | around the transaction that records its parts, whose files are stored |
//! | `import.part_moved` | after the commit of a chunk of a part |
//! | `import.before_merge`, `import.after_merge` | around the transaction that joins the parts |
//! | `import.before_clean` | before their files are removed |
//! | `outage.before_word` | a dependency was found down, the database is not told yet |
//! | `gateway_event.before_commit`, `gateway_event.after_commit` | around what a gateway's webhook changes |
//! | `replay.after_step` | after each thousand events of a replay, committed with its cursor |

/// Passes a fail point: `fail_point!("checkout.after_reserve")`, or with a format and its arguments. To be used in async
/// functions whose error is made from [`waybill_jobs::Failure`].
#[macro_export]
macro_rules! fail_point {
    ($($name:tt)+) => {
        #[cfg(feature = "fail-points")]
        $crate::fail_point::strike(&format!($($name)+)).await?;
    };
}

#[cfg(feature = "fail-points")]
pub use armed::strike;

#[cfg(feature = "fail-points")]
mod armed {
    use std::collections::HashMap;
    use std::path::PathBuf;
    use std::sync::{Mutex, OnceLock, PoisonError};
    use std::time::Duration;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use waybill_jobs::Failure;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Action {
        Kill,
        Error,
        Pause(Duration),
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
            Action::Kill => {
                let _ = kill(Pid::this(), Signal::SIGKILL);
                // The signal takes effect before this is of any consequence.
                std::future::pending().await
            }
        }
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
            pause => {
                let ms = pause.strip_prefix("pause(")?.strip_suffix(')')?.parse().ok()?;
                Action::Pause(Duration::from_millis(ms))
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
                parse("checkout.after_reserve=kill:1; after_capture_call=error:2;x=pause(50);").unwrap();
            assert_eq!(points["checkout.after_reserve"], (Action::Kill, 1));
            assert_eq!(points["after_capture_call"], (Action::Error, 2));
            assert_eq!(points["x"], (Action::Pause(Duration::from_millis(50)), 1));
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
}
