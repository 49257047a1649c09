use secrecy::{ExposeSecret, SecretString};

use super::reader::Reader;
use crate::vault;

/// What seals the secrets that the database keeps.
#[derive(Debug, Clone)]
pub struct SecretsConfig {
    /// Key of [`crate::vault::Vault`]: 32 bytes as Base64.
    pub encryption_key: SecretString,
}

impl SecretsConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let path = "secrets.encryption_key";
        let config = Self { encryption_key: reader.section("secrets").secret("encryption_key", 1) };
        if reader.usable(&[path]) && vault::decode_key(config.encryption_key.expose_secret()).is_none() {
            reader.problem(path, "expected 32 bytes as Base64, such as `openssl rand -base64 32` makes");
        }
        config
    }
}
