//! The configuration of every Waybill process: one typed tree, read once at start.
//!
//! Sources, weakest first: the embedded [`DEFAULTS`] (which document every setting: meaning, unit, bounds), the TOML
//! file named by `WAYBILL_CONFIG`, the environment. `WAYBILL_WORKER__LEASE=30s` sets `lease` of section `worker`.
//! Whatever is wrong is reported at once, each problem with its setting, its variable and what is expected.

mod api;
mod auth;
mod backpressure;
mod broker;
mod check;
mod checkout;
mod database;
pub mod duration;
mod error;
mod files;
mod housekeeping;
mod layers;
mod log;
mod mail;
mod payments;
mod rate_limit;
mod reader;
mod scheduler;
mod search;
mod secrets;
mod section;
mod telemetry;
#[cfg(test)]
mod tests;
mod values;
mod webhooks;
mod worker;

pub use self::{
    api::ApiConfig,
    auth::AuthConfig,
    backpressure::{BackpressureConfig, ClassLimits},
    broker::BrokerConfig,
    checkout::CheckoutConfig,
    database::DatabaseConfig,
    error::{ConfigError, Problem},
    files::{FilesConfig, FilesLocation, S3Config},
    housekeeping::HousekeepingConfig,
    layers::{DEFAULTS, Origin},
    log::{LogConfig, LogFormat},
    mail::{MailConfig, MailTransport},
    payments::{Gateway, PaymentsConfig, SandboxConfig},
    rate_limit::RateLimitConfig,
    reader::Setting,
    scheduler::SchedulerConfig,
    search::{SearchConfig, SearchEngine},
    secrets::SecretsConfig,
    telemetry::TelemetryConfig,
    webhooks::WebhooksConfig,
    worker::WorkerConfig,
};
use self::{layers::Layers, reader::Reader};

/// What the process is used for. Production refuses what is only fit for a developer's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Environment {
    /// A developer's machine, a demonstration, a test.
    #[default]
    Development,
    /// Real customers, real money.
    Production,
}

/// Every setting, checked. Printing it with `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Config {
    /// Development or production.
    pub environment: Environment,
    /// Logs.
    pub log: LogConfig,
    /// Traces.
    pub telemetry: TelemetryConfig,
    /// Postgres.
    pub database: DatabaseConfig,
    /// `RabbitMQ`.
    pub broker: BrokerConfig,
    /// The HTTP API.
    pub api: ApiConfig,
    /// Tokens and the first administrator.
    pub auth: AuthConfig,
    /// What seals secrets in the database.
    pub secrets: SecretsConfig,
    /// Job and event processing.
    pub worker: WorkerConfig,
    /// Recurring work.
    pub scheduler: SchedulerConfig,
    /// How long things are kept, and when an order counts as stuck.
    pub housekeeping: HousekeepingConfig,
    /// When the API refuses work because too much is waiting.
    pub backpressure: BackpressureConfig,
    /// Payment gateways.
    pub payments: PaymentsConfig,
    /// Reservations and currency.
    pub checkout: CheckoutConfig,
    /// Outgoing e-mail.
    pub mail: MailConfig,
    /// Outgoing webhooks.
    pub webhooks: WebhooksConfig,
    /// Uploads, exports, invoices, images.
    pub files: FilesConfig,
    /// Product search.
    pub search: SearchConfig,
    /// Requests per client.
    pub rate_limit: RateLimitConfig,
    /// What is legal and probably not meant; to be logged once logging is up.
    pub warnings: Vec<String>,
    /// Every setting with its value in force and where it came from, section by section; secrets masked.
    pub settings: Vec<Setting>,
}

impl Config {
    /// Reads the configuration of this process from its environment.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem found: missing, of the wrong type, out of bounds, unknown, contradictory.
    pub fn load() -> Result<Self, ConfigError> {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        Self::from_variables(variables)
    }

    /// The same from the given variables instead of the process's own; `WAYBILL_CONFIG` among them names the file.
    pub fn from_variables<N, V>(variables: impl IntoIterator<Item = (N, V)>) -> Result<Self, ConfigError>
    where
        N: Into<String>,
        V: Into<String>,
    {
        let mut problems = Vec::new();
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        let layers = Layers::read(variables, &mut problems);
        let mut reader = Reader::new(&layers, problems);
        let mut config = Self::read(&mut reader);
        check::across_sections(&config, &mut reader);
        reader.refuse_unknown();
        if !reader.problems.is_empty() {
            return Err(ConfigError { problems: reader.problems });
        }
        config.warnings = reader.warnings;
        config.settings = reader.settings;
        Ok(config)
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        let choices = [("development", Environment::Development), ("production", Environment::Production)];
        Self {
            environment: reader.section("").choice("environment", &choices),
            log: LogConfig::read(reader),
            telemetry: TelemetryConfig::read(reader),
            database: DatabaseConfig::read(reader),
            broker: BrokerConfig::read(reader),
            api: ApiConfig::read(reader),
            auth: AuthConfig::read(reader),
            secrets: SecretsConfig::read(reader),
            worker: WorkerConfig::read(reader),
            scheduler: SchedulerConfig::read(reader),
            housekeeping: HousekeepingConfig::read(reader),
            backpressure: BackpressureConfig::read(reader),
            payments: PaymentsConfig::read(reader),
            checkout: CheckoutConfig::read(reader),
            mail: MailConfig::read(reader),
            webhooks: WebhooksConfig::read(reader),
            files: FilesConfig::read(reader),
            search: SearchConfig::read(reader),
            rate_limit: RateLimitConfig::read(reader),
            warnings: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// Logs every warning; to be called after [`crate::telemetry::init`].
    pub fn log_warnings(&self) {
        for warning in &self.warnings {
            tracing::warn!(warning, "configuration");
        }
    }
}
