//! One token for the whole process, cancelled by the first SIGTERM or SIGINT.

use std::sync::OnceLock;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

static TOKEN: OnceLock<CancellationToken> = OnceLock::new();

/// Exit code of a process ended by its second signal: 128 + SIGINT, as a shell reports it.
const EXIT_FORCED: i32 = 130;

/// The process's shutdown token. Must be called inside a tokio runtime, first from `main`.
///
/// The first SIGTERM or SIGINT cancels the token: servers drain, workers hand back. A second one ends the process at
/// once with code 130, because a person who presses Ctrl-C twice no longer wants to wait for the deadline.
pub fn token() -> CancellationToken {
    TOKEN
        .get_or_init(|| {
            let token = CancellationToken::new();
            match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
                (Ok(term), Ok(int)) => {
                    tokio::spawn(watch(term, int, token.clone()));
                }
                (Err(error), _) | (_, Err(error)) => {
                    tracing::error!(%error, "signals cannot be watched: the process will not drain when stopped");
                }
            }
            token
        })
        .clone()
}

async fn watch(mut term: Signal, mut int: Signal, token: CancellationToken) {
    let first = next(&mut term, &mut int).await;
    tracing::info!(signal = first, "shutting down");
    token.cancel();
    let second = next(&mut term, &mut int).await;
    tracing::warn!(signal = second, "second signal: ending at once");
    std::process::exit(EXIT_FORCED);
}

async fn next(term: &mut Signal, int: &mut Signal) -> &'static str {
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}
