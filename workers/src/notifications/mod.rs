//! Mails: which events cause them, what they say, and how they leave.

mod message;
mod pipeline;
mod send;
mod templates;
#[cfg(test)]
mod tests;
mod transport;
mod view;

use std::sync::Arc;

use waybill_jobs::Registry;

pub use pipeline::Notifications;
pub use send::Mailer;

use waybill_schema::system::outages::MAIL_SERVER;

use crate::{
    Services, StartError,
    outages::{BreakerSettings, Dependency},
};

/// Adds this folder's handlers.
pub fn register(registry: Registry, services: &Services) -> Result<Registry, StartError> {
    let mailer = Arc::new(mailer(services)?);
    Ok(registry.job(move |job, context| Arc::clone(&mailer).run(job, context)))
}

fn mailer(services: &Services) -> Result<Mailer, StartError> {
    let config = &services.config.mail;
    let breaker = BreakerSettings { failures: config.breaker_failures, open_for: config.breaker_open_for };
    Ok(Mailer {
        server: Dependency::new(MAIL_SERVER, breaker, transport::TIMEOUT),
        templates: templates::Templates::new().map_err(|error| StartError::Mail(error.to_string()))?,
        transport: transport::Transport::new(config).map_err(StartError::Mail)?,
        from: config.from.parse().map_err(|_| StartError::Mail("mail.from is no sender".to_owned()))?,
        verify_email_url: config.verify_email_url.clone(),
    })
}
