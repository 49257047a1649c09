use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;
use url::Url;

use super::reader::Reader;

/// Outgoing e-mail.
#[derive(Debug, Clone)]
pub struct MailConfig {
    /// Where mails go.
    pub transport: MailTransport,
    /// Sender, as `Waybill <shop@example.com>`.
    pub from: String,
    /// Folder of the file transport, one `.eml` per mail.
    pub dir: PathBuf,
    /// `smtp://user:password@host:port` (`smtps://` for TLS from the start); needed by the SMTP transport.
    pub smtp_url: Option<SecretString>,
    /// Mails in a row that found no mail server, after which it counts as down.
    pub breaker_failures: u32,
    /// How long it rests before one mail may try.
    pub breaker_open_for: Duration,
    /// The shop's page that proves an e-mail address, with `{token}` where the token goes.
    pub verify_email_url: Option<String>,
}

/// The way mails leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTransport {
    /// Into a folder, for development.
    File,
    /// To a mail server.
    Smtp,
}

impl MailConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("mail");
        let sender = |text: &str| text.contains('@').then(|| text.to_owned());
        let config = Self {
            transport: section
                .choice("transport", &[("file", MailTransport::File), ("smtp", MailTransport::Smtp)]),
            from: section.parsed("from", "a sender such as \"Shop <shop@example.com>\"", sender),
            dir: PathBuf::from(section.text("dir")),
            smtp_url: section.optional_secret_url("smtp_url", &["smtp", "smtps"]),
            breaker_failures: section.number("breaker_failures", 1..=1_000),
            breaker_open_for: section.duration("breaker_open_for", "100ms"..="1h"),
            verify_email_url: section.optional_text("verify_email_url"),
        };
        let page = "mail.verify_email_url";
        let usable_page = |url: &String| url.contains("{token}") && Url::parse(url).is_ok();
        if reader.usable(&[page]) && !config.verify_email_url.as_ref().is_none_or(usable_page) {
            let message =
                "expected a URL with {token} in it, such as \"https://shop.example/verify?token={token}\"";
            reader.problem(page, message);
        }
        let both = ["mail.smtp_url", "mail.transport"];
        if reader.usable(&both) && config.transport == MailTransport::Smtp && config.smtp_url.is_none() {
            reader.problem(both[0], "must be set because mail.transport is \"smtp\"");
        }
        config
    }
}
