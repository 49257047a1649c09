//! Where mails go: a mail server, or a folder in development.

use std::{io, path::PathBuf, time::Duration};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    transport::smtp::{self, PoolConfig},
};
use secrecy::ExposeSecret;
use url::Url;
use uuid::Uuid;
use waybill_platform::config::{MailConfig, MailTransport};

/// Below the job's own timeout of 60 s, so that the mail server gets the blame that it deserves.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// Connections kept to the mail server; common servers allow 10 to 50 from one host.
const CONNECTIONS: u32 = 10;

/// Answers that are about us rather than about the mail.
const ABOUT_US: [u16; 4] = [530, 534, 535, 538];

/// Why a mail did not go out.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The mail server will never take this mail.
    #[error("refused for good by the mail server: {0}")]
    Refused(String),
    /// It does not answer, or serves nobody now: another mail would fare no better.
    #[error("mail server: {0}")]
    Away(String),
    /// It serves, but will not take this mail now.
    #[error("mail server: {0}")]
    Later(String),
    /// The folder cannot be written.
    #[error("mail folder")]
    Folder(#[from] io::Error),
}

/// A way out for mails. Clones share connections.
#[derive(Clone)]
pub enum Transport {
    /// One `.eml` per mail, named by the mail's id, so that a repeat replaces rather than doubles.
    Folder(PathBuf),
    /// Pooled connections to a mail server.
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
}

impl Transport {
    /// The transport that the configuration names.
    pub fn new(config: &MailConfig) -> Result<Self, String> {
        match (config.transport, &config.smtp_url) {
            (MailTransport::File, _) => Ok(Self::Folder(config.dir.clone())),
            (MailTransport::Smtp, Some(url)) => {
                let url = with_tls(url.expose_secret())?;
                let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.as_str())
                    .map_err(|error| error.to_string())?
                    .timeout(Some(TIMEOUT))
                    .pool_config(PoolConfig::new().max_size(CONNECTIONS))
                    .build();
                Ok(Self::Smtp(transport))
            }
            (MailTransport::Smtp, None) => Err("mail.smtp_url is not set".to_owned()),
        }
    }

    /// Hands a mail over.
    pub async fn send(&self, mail_id: Uuid, message: Message) -> Result<(), SendError> {
        match self {
            Self::Folder(folder) => {
                tokio::fs::create_dir_all(folder).await?;
                let part = folder.join(format!(".{mail_id}.part"));
                // Whoever watches the folder sees a mail whole or not at all.
                tokio::fs::write(&part, message.formatted()).await?;
                tokio::fs::rename(&part, folder.join(format!("{mail_id}.eml"))).await?;
                Ok(())
            }
            // The transport's own limit is for the connection alone: a server that takes it and says nothing would have the
            // job until its deadline.
            Self::Smtp(transport) => match tokio::time::timeout(TIMEOUT, transport.send(message)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) if is_final(&error) => Err(SendError::Refused(describe(&error))),
                Ok(Err(error)) if is_away(&error) => Err(SendError::Away(describe(&error))),
                Ok(Err(error)) => Err(SendError::Later(describe(&error))),
                Err(_) => Err(SendError::Away(format!("no answer within {TIMEOUT:?}"))),
            },
        }
    }
}

/// Plain `smtp://` says nothing of TLS: a password then only travels encrypted, and the rest is encrypted where the
/// server can.
fn with_tls(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|_| "mail.smtp_url is no URL".to_owned())?;
    if url.scheme() == "smtp" && !url.query_pairs().any(|(name, _)| name == "tls") {
        let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let tls = if url.password().is_some() && !local { "required" } else { "opportunistic" };
        // Without a port, TLS would also move it from 25 to 587.
        if url.port().is_none() && url.password().is_none() {
            url.set_port(Some(25)).map_err(|()| "mail.smtp_url names no host".to_owned())?;
        }
        url.query_pairs_mut().append_pair("tls", tls);
    }
    Ok(url)
}

/// 5xx, except those about us rather than about the mail: a wrong password (534, 535, 538, 530) is put right by
/// somebody, and the mail can still go.
fn is_final(error: &smtp::Error) -> bool {
    error.is_permanent() && error.status().is_some_and(|code| !ABOUT_US.contains(&u16::from(code)))
}

/// No answer at all, 421 (closing down), or something about us.
fn is_away(error: &smtp::Error) -> bool {
    let code = error.status().map(u16::from);
    code.is_none_or(|code| code == 421 || ABOUT_US.contains(&code))
}

/// The server's code and what failed; its text may repeat the recipient's address, which does not belong into logs.
fn describe(error: &smtp::Error) -> String {
    match error.status() {
        Some(code) => format!("answered {code}"),
        None if error.is_timeout() => "no answer in time".to_owned(),
        None if error.is_tls() => "TLS failed".to_owned(),
        None => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::with_tls;

    #[test]
    fn passwords_travel_encrypted_unless_the_server_is_this_host() {
        let url = |text| with_tls(text).unwrap().to_string();
        assert_eq!(url("smtp://u:p@mail.example:587"), "smtp://u:p@mail.example:587?tls=required");
        assert_eq!(url("smtp://u:p@127.0.0.1:1025"), "smtp://u:p@127.0.0.1:1025?tls=opportunistic");
        assert_eq!(url("smtp://mailpit"), "smtp://mailpit:25?tls=opportunistic");
        assert_eq!(
            url("smtp://u:p@mail.example?tls=opportunistic"),
            "smtp://u:p@mail.example?tls=opportunistic"
        );
        assert_eq!(url("smtps://u:p@mail.example"), "smtps://u:p@mail.example");
    }
}
