//! Passwords: what is accepted, and how they are kept.

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::{Output, ParamsString, PasswordHash, Salt, SaltString, rand_core::OsRng},
};
use tokio::sync::Semaphore;

use crate::error::{ApiError, ApiResult, FieldErrors};

/// Shortest password, in characters.
pub const MIN_LENGTH: usize = 8;
/// Longest password, in characters: hashing takes longer the longer it is.
pub const MAX_LENGTH: usize = 128;

static COMMON: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    include_str!("common_passwords.txt").lines().map(str::trim).filter(|line| !line.is_empty()).collect()
});

/// Checks a new password: long enough, not too long, not one of the common ones (whatever its case, and with digits or
/// signs behind), not the e-mail address or the part before its `@`.
pub fn check(field: &str, password: &str, email: &str, errors: &mut FieldErrors) {
    let length = password.chars().count();
    if length < MIN_LENGTH {
        errors.add(field, "too_short", format!("must have at least {MIN_LENGTH} characters"));
        return;
    }
    if length > MAX_LENGTH {
        errors.add(field, "too_long", format!("must have at most {MAX_LENGTH} characters"));
        return;
    }
    let lower = password.to_lowercase();
    let stem = lower.trim_end_matches(|c: char| !c.is_alphabetic());
    let mut characters = lower.chars();
    let first = characters.next();
    if COMMON.contains(lower.as_str())
        || (stem.len() >= 4 && COMMON.contains(stem))
        || characters.all(|c| Some(c) == first)
    {
        errors.add(field, "too_common", "is one of the passwords that are tried first");
    }
    let email = email.trim().to_lowercase();
    let local = email.split('@').next().unwrap_or_default();
    if lower == email || (local.len() >= 4 && (lower == local || stem == local)) {
        errors.add(field, "is_email", "must not be the e-mail address");
    }
}

/// Hashes and verifies with argon2id, as many at a time as there are cores to do it.
///
/// One hash takes 19 MiB and some 20 ms of a core: without the limit a burst of log-ins would take every core away from
/// checkout. The memory is kept and used again: allocated anew on each of tokio's blocking threads, thirty log-ins at once
/// left the process with 400 MB that the allocator did not give back.
pub struct Passwords {
    permits: Semaphore,
    memory: Arc<Mutex<Vec<Vec<Block>>>>,
    /// Verified against when the account does not exist, so that the answer takes as long as if it did.
    decoy: String,
}

/// OWASP's first choice for argon2id: 19 MiB, 2 passes, 1 lane.
fn hasher(params: Params) -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The raw hash of a password, worked out in `memory`, which grows to what the parameters ask for.
fn raw(
    params: &Params,
    password: &str,
    salt: Salt<'_>,
    memory: &mut Vec<Block>,
) -> Result<Output, argon2::password_hash::Error> {
    let mut salt_bytes = [0_u8; Salt::MAX_LENGTH];
    let salt_bytes = salt.decode_b64(&mut salt_bytes)?;
    memory.resize(memory.len().max(params.block_count()), Block::default());
    Output::init_with(params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN), |out| {
        hasher(params.clone())
            .hash_password_into_with_memory(password.as_bytes(), salt_bytes, out, memory.as_mut_slice())
            .map_err(Into::into)
    })
}

fn hash_now(password: &str, memory: &mut Vec<Block>) -> Result<String, argon2::password_hash::Error> {
    let params = Params::default();
    let salt = SaltString::generate(&mut OsRng);
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params)?,
        salt: Some(salt.as_salt()),
        hash: Some(raw(&params, password, salt.as_salt(), memory)?),
    };
    Ok(hash.to_string())
}

fn verify_now(password: &str, hash: &str, memory: &mut Vec<Block>) -> bool {
    let Ok(stored) = PasswordHash::new(hash) else { return false };
    let (Some(salt), Some(expected), Ok(params)) = (stored.salt, stored.hash, Params::try_from(&stored))
    else {
        return false;
    };
    // `Output` compares in constant time.
    stored.algorithm == Algorithm::Argon2id.ident()
        && raw(&params, password, salt, memory).is_ok_and(|found| found == expected)
}

impl Passwords {
    /// At most `parallel` at a time.
    pub fn new(parallel: usize) -> ApiResult<Self> {
        let mut memory = Vec::new();
        let decoy = hash_now("no account has this password", &mut memory)
            .map_err(|e| ApiError::internal(e.to_string()))?;
        let memory = Arc::new(Mutex::new(vec![memory]));
        Ok(Self { permits: Semaphore::new(parallel.max(1)), memory, decoy })
    }

    /// The PHC string of a password.
    pub async fn hash(&self, password: String) -> ApiResult<String> {
        let hash = self.work(move |memory| hash_now(&password, memory)).await?;
        hash.map_err(|e| ApiError::internal(e.to_string()))
    }

    /// Whether the password has this hash; with no hash (no such account) as slow as ever, and never.
    pub async fn verify(&self, password: String, hash: Option<String>) -> ApiResult<bool> {
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.clone());
        Ok(self.work(move |memory| verify_now(&password, &hash, memory)).await? && exists)
    }

    /// Runs `work` on a blocking thread with one of the kept memories, when it is its turn.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static,
    ) -> ApiResult<T> {
        let _permit = self.permits.acquire().await.map_err(ApiError::internal)?;
        let kept = Arc::clone(&self.memory);
        tokio::task::spawn_blocking(move || {
            let mut memory = kept.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            let done = work(&mut memory);
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
            done
        })
        .await
        .map_err(ApiError::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(password: &str, email: &str) -> Vec<&'static str> {
        let mut errors = FieldErrors::new();
        check("password", password, email, &mut errors);
        match errors.check() {
            Ok(()) => vec![],
            Err(error) => error.errors().iter().map(|e| e.code).collect(),
        }
    }

    #[test]
    fn weak_passwords_are_refused_for_their_reason() {
        assert_eq!(codes("short", "a@example.com"), ["too_short"]);
        assert_eq!(codes(&"x".repeat(129), "a@example.com"), ["too_long"]);
        assert_eq!(codes("Password1!", "a@example.com"), ["too_common"]);
        assert_eq!(codes("12345678", "a@example.com"), ["too_common"]);
        assert_eq!(codes("zzzzzzzzzz", "a@example.com"), ["too_common"]);
        assert_eq!(codes("jane.doe@example.com", "Jane.Doe@example.com"), ["is_email"]);
        assert_eq!(codes("jane.doe2024", "jane.doe@example.com"), ["is_email"]);
        assert!(codes("correct horse battery", "a@example.com").is_empty());
    }
}
