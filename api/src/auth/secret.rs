//! Random bearer secrets: refresh tokens, API keys, and the tokens of guests' carts and orders. Stored as a hash.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::RngCore;
use sha2::{Digest, Sha256};

/// A new secret: the prefix (which tells a person, and a scanner of leaked secrets, what it is) and 256 random bits.
pub fn generate(prefix: &str) -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    format!("{prefix}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// SHA-256, as kept in the database. A fast hash is enough: 256 random bits cannot be guessed, and looking a hash up does
/// not compare secrets byte by byte.
pub fn hash(secret: impl AsRef<[u8]>) -> Vec<u8> {
    Sha256::digest(secret.as_ref()).to_vec()
}
