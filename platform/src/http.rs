//! The HTTP client every adapter to the outside shares its settings with.

use std::{sync::OnceLock, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, redirect::Policy};

/// Longest wait for a TCP and TLS handshake; a host that does not answer by then is down, however long the caller
/// would wait for the response.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below the 60 s after which common load balancers drop idle connections, so that we never reuse a dead one.
const POOL_IDLE: Duration = Duration::from_secs(55);
const TCP_KEEPALIVE: Duration = Duration::from_mins(1);

/// A client whose every request, body included, ends within `timeout`.
///
/// Keep-alive, HTTP/1.1 and HTTP/2, TLS by rustls with ring, no proxy from the environment, no redirects (an adapter
/// talks to the host it was configured with and nobody else), user agent `waybill/<version>`. Build it once and clone it:
/// the clones share the pool.
///
/// # Errors
/// When the TLS set-up fails, which no configuration or host is known to cause.
pub fn client(timeout: Duration) -> reqwest::Result<Client> {
    builder(timeout).build()
}

/// The same settings, unfinished, for a caller that adds its own (a DNS resolver that refuses private addresses, say).
///
/// Certificates are checked against the system's store, or against [`bundled_roots`] on a host that has none.
pub fn builder(timeout: Duration) -> ClientBuilder {
    let builder = if has_system_roots() {
        Client::builder()
    } else {
        Client::builder().tls_certs_only(bundled_roots())
    };
    builder
        .user_agent(concat!("waybill/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .connect_timeout(timeout.min(CONNECT_TIMEOUT))
        .pool_idle_timeout(POOL_IDLE)
        .tcp_keepalive(TCP_KEEPALIVE)
        .redirect(Policy::none())
        .no_proxy()
}

/// Whether this host has certificates of its own to trust. The TLS layer refuses to start without any, as in a bare
/// container; asked once, because reading the store takes some 10 ms.
pub(crate) fn has_system_roots() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    crate::install_crypto();
    *FOUND.get_or_init(|| match Client::builder().build() {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, "no system certificates: trusting the bundled Mozilla roots");
            false
        }
    })
}

/// Mozilla's root certificates as compiled in, for hosts that have none of their own.
pub fn bundled_roots() -> Vec<Certificate> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .filter_map(|der| Certificate::from_der(der).ok())
        .collect()
}
