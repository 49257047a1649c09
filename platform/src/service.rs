//! The name of this process, and how it tells a launcher where it listens.

use std::{io::Write, net::SocketAddr, sync::OnceLock};

static NAME: OnceLock<&'static str> = OnceLock::new();

/// Names the process once; later calls change nothing. [`crate::telemetry::init`] does it for every binary.
pub(crate) fn set_name(name: &'static str) {
    let _ = NAME.set(name);
}

/// The name given to [`crate::telemetry::init`], or `waybill` before that.
pub fn name() -> &'static str {
    NAME.get().copied().unwrap_or("waybill")
}

/// The version of the workspace, as in `waybill/0.1.0`.
pub const fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Tells whoever started the process, on one line of standard output, the address it serves.
///
/// With a configured port of 0 this is the only way to learn the port. Logs go to standard error, so standard
/// output carries nothing else:
/// `{"event":"listening","service":"waybill-api","address":"127.0.0.1:8080"}`.
pub fn announce(address: SocketAddr) {
    let line = announcement(name(), address);
    let mut out = std::io::stdout().lock();
    // A closed standard output is no reason to end a server.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    tracing::info!(%address, "listening");
}

fn announcement(service: &str, address: SocketAddr) -> String {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        event: &'static str,
        service: &'a str,
        address: SocketAddr,
    }
    serde_json::to_string(&Line { event: "listening", service, address }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn the_announcement_is_one_line_of_json_in_a_fixed_order() {
        let address = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(
            super::announcement("waybill-api", address),
            r#"{"event":"listening","service":"waybill-api","address":"127.0.0.1:8080"}"#
        );
    }
}
