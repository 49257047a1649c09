//! What every Waybill process needs and no business rule touches: configuration, logs and metrics, health and
//! readiness, orderly shutdown, file storage and an HTTP client.
//!
//! Nothing here knows an order or a job; the crate uses no other crate of the workspace.

pub mod config;
pub mod files;
pub mod http;
pub mod ops;
pub mod service;
pub mod shutdown;
pub mod signature;
pub mod telemetry;
pub mod vault;

pub use config::{Config, ConfigError};

/// Installs ring as the process's rustls provider.
///
/// Every TLS user of the workspace (broker, database, HTTP, mail, files) takes the process default, so this is the
/// first line of each `main`. Calling it again, or after another part of the process has chosen a provider, changes
/// nothing.
pub fn install_crypto() {
    // The only error is "a provider is already installed".
    let _ = rustls::crypto::ring::default_provider().install_default();
}
