use std::time::Duration;

use secrecy::SecretString;

use super::reader::Reader;

/// Postgres, the system of record.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/name?sslmode=…`.
    pub url: SecretString,
    /// Most connections that one process holds.
    pub pool_max: u32,
    /// Longest wait for a new connection.
    pub connect_timeout: Duration,
    /// Longest run of one statement; zero for no limit.
    pub statement_timeout: Duration,
}

impl DatabaseConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("database");
        Self {
            url: section.secret_url("url", &["postgres", "postgresql"]),
            pool_max: section.number("pool_max", 2..=1000),
            connect_timeout: section.duration("connect_timeout", "100ms"..="1m"),
            statement_timeout: section.duration("statement_timeout", "0s"..="1h"),
        }
    }
}
