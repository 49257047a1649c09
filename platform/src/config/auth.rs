use std::time::Duration;

use secrecy::SecretString;

use super::reader::Reader;

/// Tokens, and the administrator that a new installation starts with.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Key that signs access tokens (HMAC-SHA-256).
    pub jwt_secret: SecretString,
    /// Life of an access token.
    pub access_ttl: Duration,
    /// Life of a refresh token that is not used.
    pub refresh_ttl: Duration,
    /// The `iss` claim.
    pub issuer: String,
    /// E-mail address of the administrator to create when there is none; set together with the password.
    pub bootstrap_admin_email: Option<String>,
    /// Password of that administrator.
    pub bootstrap_admin_password: Option<SecretString>,
}

impl AuthConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("auth");
        // A key shorter than the hash's output is the weakest part of HMAC-SHA-256 (RFC 7518, 3.2).
        let config = Self {
            jwt_secret: section.secret("jwt_secret", 32),
            access_ttl: section.duration("access_ttl", "1m"..="1d"),
            refresh_ttl: section.duration("refresh_ttl", "5m"..="365d"),
            issuer: section.text("issuer"),
            bootstrap_admin_email: section.optional_text("bootstrap_admin_email"),
            bootstrap_admin_password: section.optional_secret("bootstrap_admin_password", 12),
        };
        let email = "auth.bootstrap_admin_email";
        let password = "auth.bootstrap_admin_password";
        if reader.usable(&[email, password]) {
            match (&config.bootstrap_admin_email, &config.bootstrap_admin_password) {
                (Some(address), Some(_)) if !address.contains('@') => {
                    reader.problem(email, "expected an e-mail address");
                }
                (Some(_), None) => reader.problem(password, format!("must be set because {email} is")),
                (None, Some(_)) => reader.problem(email, format!("must be set because {password} is")),
                _ => {}
            }
        }
        if reader.usable(&["auth.access_ttl", "auth.refresh_ttl"]) && config.access_ttl >= config.refresh_ttl
        {
            reader.problem(
                "auth.access_ttl",
                "must be shorter than auth.refresh_ttl, or refreshing comes too late",
            );
        }
        config
    }
}
