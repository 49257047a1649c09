//! What every handler may need, made once at start.

use std::{ops::Deref, sync::Arc};

use diesel_async::pooled_connection::bb8::PooledConnection;
use poem::Request;
use secrecy::{ExposeSecret, SecretString};
use waybill_jobs::Notifier;
use waybill_platform::{
    Config,
    config::{DatabaseConfig, Gateway},
    files::Files,
    ops::Readiness,
    vault::Vault,
};
use waybill_schema::{Conn, Currency, Pool, db};

use crate::{
    auth::{LoginLimiter, Passwords, Tokens},
    error::{ApiError, ApiResult},
    jobs::watch::JobHub,
    middleware::backpressure::Load,
    orders::watch::OrderHub,
    search::{PostgresSearch, SearchEngine},
};

/// The shared state. Clones share it.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// See [`AppState`].
pub struct Shared {
    /// Connections.
    pub pool: Pool,
    /// Settings.
    pub config: Config,
    /// The shop's own currency.
    pub currency: Currency,
    /// Access tokens.
    pub tokens: Tokens,
    /// Password hashes.
    pub passwords: Passwords,
    /// Attempts to log in.
    pub logins: LoginLimiter,
    /// Uploads and downloads.
    pub files: Files,
    /// Product search.
    pub search: Arc<dyn SearchEngine>,
    /// Tells workers at once of what was enqueued.
    pub notifier: Notifier,
    /// Who watches which order.
    pub order_hub: OrderHub,
    /// Who follows which job.
    pub job_hub: JobHub,
    /// How much work waits.
    pub load: Load,
    /// Sealing of secrets that the database keeps.
    pub vault: Vault,
    /// The dependencies, as `/health/ready` reports them.
    pub readiness: Readiness,
}

/// Why the state could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file store cannot be used.
    #[error(transparent)]
    Files(#[from] waybill_platform::files::FilesError),
    /// The shop's currency is none.
    #[error(transparent)]
    Currency(#[from] waybill_schema::domain::currency::InvalidCurrency),
    /// The encryption key is none.
    #[error(transparent)]
    Vault(#[from] waybill_platform::vault::VaultError),
    /// Passwords cannot be hashed.
    #[error(transparent)]
    Passwords(#[from] ApiError),
}

impl AppState {
    /// The state of one process. Must be called in a tokio runtime.
    pub fn new(config: Config, pool: Pool) -> Result<Self, StateError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let readiness = Readiness::new();
        let asked = pool.clone();
        readiness.add("postgres", move || {
            let pool = asked.clone();
            async move { db::ping(&pool).await }
        });
        let vault = Vault::new(&config.secrets)?;
        // Jobs whose kinds seal their arguments are sealed by the same vault.
        waybill_jobs::seal::install(vault.clone().into_functions());
        Ok(Self(Arc::new(Shared {
            currency: Currency::parse(&config.checkout.currency)?,
            tokens: Tokens::new(&config.auth),
            passwords: Passwords::new(cores)?,
            logins: LoginLimiter::new(config.api.login_attempts_per_minute),
            files: waybill_platform::files::store(&config.files)?,
            search: Arc::new(PostgresSearch::new(pool.clone())),
            notifier: Notifier::start(pool.clone()),
            order_hub: OrderHub::new(pool.clone()),
            job_hub: JobHub::new(pool.clone()),
            load: Load::new(pool.clone(), config.backpressure.clone()),
            vault,
            readiness,
            pool,
            config,
        })))
    }

    /// The state of the application that serves `request`.
    pub fn of(request: &Request) -> ApiResult<&Self> {
        request.data::<Self>().ok_or_else(|| ApiError::internal("the request has no application state"))
    }

    /// The name of the gateway that new payments go to.
    pub fn gateway_name(&self) -> &'static str {
        match self.0.config.payments.gateway {
            Gateway::Sandbox => "sandbox",
        }
    }

    /// A connection; 503 when there is none in time.
    pub async fn conn(&self) -> ApiResult<PooledConnection<'_, Conn>> {
        Ok(self.pool.get().await?)
    }
}

/// The database's URL with the configured limit on a statement's run, unless it brings options of its own.
pub fn database_url(config: &DatabaseConfig) -> SecretString {
    let url = config.url.expose_secret();
    let limit = config.statement_timeout.as_millis();
    if url.contains("options=") || limit == 0 {
        return config.url.clone();
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options=-c%20statement_timeout%3D{limit}").into()
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
