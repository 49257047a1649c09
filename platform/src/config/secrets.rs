use secrecy::{ExposeSecret, SecretString};

use super::reader::Reader;
use crate::vault;

/// What seals the secrets that the database keeps.
#[derive(Debug, Clone)]
pub struct SecretsConfig {
    /// Key of [`crate::vault::Vault`]: 32 bytes as Base64.
    pub encryption_key: SecretString,
    /// Keys that open and do not seal, separated by commas or blanks; empty for none.
    pub encryption_keys_old: SecretString,
}

impl SecretsConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("secrets");
        let config = Self {
            encryption_key: section.secret("encryption_key", 1),
            encryption_keys_old: section.optional_secret("encryption_keys_old", 1).unwrap_or_default(),
        };
        let is_key = |key: &str| vault::decode_key(key).is_some();
        let path = "secrets.encryption_key";
        if reader.usable(&[path]) && !is_key(config.encryption_key.expose_secret()) {
            reader.problem(path, "expected 32 bytes as Base64, such as `openssl rand -base64 32` makes");
        }
        let path = "secrets.encryption_keys_old";
        if reader.usable(&[path]) && !config.old().all(is_key) {
            reader.problem(path, "expected keys of 32 bytes as Base64, separated by commas");
        }
        config
    }

    fn old(&self) -> impl Iterator<Item = &str> {
        let apart = |c: char| c == ',' || c.is_whitespace();
        self.encryption_keys_old.expose_secret().split(apart).filter(|key| !key.is_empty())
    }

    /// Every key, the one that seals first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.encryption_key.expose_secret()).chain(self.old())
    }
}
