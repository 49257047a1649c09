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
        let vault = sealing(Vault::new(&config.secrets)?);
        Ok(Self { config: Arc::new(config), pool, files, vault })
    }
}

/// Jobs whose kinds seal their arguments are sealed by the same vault.
fn sealing(vault: Vault) -> Vault {
    use secrecy::ExposeSecret as _;
    let (seals, opens) = (vault.clone(), vault.clone());
    waybill_jobs::seal::install((
        move |plain: &[u8], purpose: &str| seals.seal(plain, purpose).map_err(|error| error.to_string()),
        move |sealed: &[u8], purpose: &str| {
            let plain = opens.open(sealed, purpose).map_err(|error| error.to_string())?;
            Ok(plain.expose_secret().to_vec())
        },
    ));
    vault
}
