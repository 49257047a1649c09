//! What the handlers share, made once at start.

use std::sync::Arc;

use waybill_platform::{
    Config,
    files::{self, Files, FilesError},
    vault::{Vault, VaultError},
};
use waybill_schema::{Pool, domain::currency::InvalidCurrency};

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file store cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The encryption key cannot be used.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The mail settings cannot be used.
    #[error("mail: {0}")]
    Mail(String),
    /// The shop's currency cannot be used.
    #[error(transparent)]
    Currency(#[from] InvalidCurrency),
    /// A payment gateway cannot be used.
    #[error(transparent)]
    Gateways(#[from] crate::payments::GatewaysError),
    /// A client for calls to the outside could not be made.
    #[error("http client")]
    Http(#[from] reqwest::Error),
}

/// Configuration and handles on everything that is shared. Clones share it.
#[derive(Clone)]
pub struct Services {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// Connections to Postgres.
    pub pool: Pool,
    /// Uploads and other files.
    pub files: Files,
    /// Opens sealed secrets.
    pub vault: Vault,
}

impl Services {
    /// Opens what the configuration names. Connects to nothing.
    pub fn new(config: Config, pool: Pool) -> Result<Self, StartError> {
        let files = files::store(&config.files)?;
        let vault = Vault::new(&config.secrets)?;
        // Jobs whose kinds seal their arguments are sealed by the same vault.
        waybill_jobs::seal::install(vault.clone().into_functions());
        Ok(Self { config: Arc::new(config), pool, files, vault })
    }
}
