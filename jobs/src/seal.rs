//! Sealed arguments, for kinds that carry personal data ([`Job::SEALED`]).
//!
//! The payload of such a job is `{"$sealed": "..."}` from its enqueue to its handler: in the tables, in their backups, and
//! wherever a payload is shown. What seals is given by the process at its start ([`install`]), because keys are the platform's
//! matter and not this crate's. Sealed for the kind: the bytes open in no job of another.

use std::{sync::OnceLock, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    contract::{Failure, Job, Outcome},
    payload::Payload,
};

/// Seals and opens bytes under the deployment's key.
pub trait Sealer: Send + Sync + 'static {
    /// Seals for a purpose.
    fn seal(&self, plain: &[u8], purpose: &str) -> Result<Vec<u8>, String>;
    /// Opens what was sealed for the same purpose.
    fn open(&self, sealed: &[u8], purpose: &str) -> Result<Vec<u8>, String>;
}

/// Why arguments were not sealed or opened. Says nothing of the arguments.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The process has not called [`install`].
    #[error("no sealer is installed in this process")]
    NoSealer,
    /// They do not serialise, or are not what the kind takes.
    #[error("{0}")]
    Encode(#[from] serde_json::Error),
    /// The sealer refused.
    #[error("{0}")]
    Sealer(String),
    /// The sealer could not open them: under this process's keys.
    #[error("{0}")]
    Open(String),
}

/// Two functions: what seals, and what opens.
impl<S, O> Sealer for (S, O)
where
    S: Fn(&[u8], &str) -> Result<Vec<u8>, String> + Send + Sync + 'static,
    O: Fn(&[u8], &str) -> Result<Vec<u8>, String> + Send + Sync + 'static,
{
    fn seal(&self, plain: &[u8], purpose: &str) -> Result<Vec<u8>, String> {
        (self.0)(plain, purpose)
    }

    fn open(&self, sealed: &[u8], purpose: &str) -> Result<Vec<u8>, String> {
        (self.1)(sealed, purpose)
    }
}

const FIELD: &str = "$sealed";
/// How a payload that is sealed begins.
const SEALED: &[u8] = br#"{"$sealed":"#;

static SEALER: OnceLock<Box<dyn Sealer>> = OnceLock::new();

/// Gives this process its sealer; false if it has one, which then stays.
pub fn install(sealer: impl Sealer) -> bool {
    SEALER.set(Box::new(sealer)).is_ok()
}

fn purpose<J: Job>() -> String {
    format!("job:{}", J::KIND)
}

/// The payload of a job, sealed if its kind says so.
pub fn payload<J: Job>(job: &J) -> Result<Value, SealError> {
    if !J::SEALED {
        return Ok(serde_json::to_value(job)?);
    }
    let sealer = SEALER.get().ok_or(SealError::NoSealer)?;
    let sealed = sealer.seal(&serde_json::to_vec(job)?, &purpose::<J>()).map_err(SealError::Sealer)?;
    Ok(json!({ FIELD: STANDARD.encode(sealed) }))
}

/// The sealed part of a payload, if that is what it is.
fn sealed(payload: &Value) -> Option<&str> {
    let fields = payload.as_object().filter(|fields| fields.len() == 1)?;
    fields.get(FIELD)?.as_str()
}

/// The arguments in a payload, sealed or not, whatever this release thinks of its kind: jobs may be older than the kind's
/// sealing, or from a newer release that seals it.
pub fn read<J: Job>(payload: Value) -> Result<J, SealError> {
    let Some(text) = sealed(&payload) else {
        return Ok(serde_json::from_value(payload)?);
    };
    let sealer = SEALER.get().ok_or(SealError::NoSealer)?;
    let bytes = STANDARD.decode(text).map_err(|error| SealError::Sealer(error.to_string()))?;
    let plain = sealer.open(&bytes, &purpose::<J>()).map_err(SealError::Open)?;
    Ok(serde_json::from_slice(&plain)?)
}

/// [`read`] from what was claimed. As a rule it is not sealed, and read at once into what it is; the look for the field costs
/// nothing, since Postgres writes an object's fields in its own order and a sealed one has no other.
fn read_claimed<J: Job>(payload: &Payload) -> Result<J, SealError> {
    if payload.as_bytes().starts_with(SEALED) { read(payload.read()?) } else { Ok(payload.read()?) }
}

/// Snoozes of a job that this process cannot open, before somebody must look: about a day.
const ASIDE: i32 = 300;

/// Why a run ends before its handler.
pub(crate) enum Unread {
    /// Another process may do better, or this one after its configuration is mended.
    Aside(Outcome),
    /// What cannot be read never will be.
    Failed(Failure),
}

/// [`read`] for a handler's run. A job that cannot be opened with the keys of this process is put aside: while keys are changed
/// some workers have the new one and some have not, and a key that was forgotten is put back. After a day of that it is a
/// dead letter, for its bytes may be damaged.
pub(crate) fn opened<J: Job>(payload: &Payload, snoozes: i32) -> Result<J, Unread> {
    read_claimed(payload).map_err(|error| match error {
        SealError::NoSealer => Unread::Failed(Failure::retryable(format!("payload of {}: {error}", J::KIND))),
        SealError::Open(_) if snoozes < ASIDE => {
            tracing::warn!(kind = J::KIND, %error, "a job cannot be opened and is put aside");
            Unread::Aside(Outcome::Snooze {
                // 5 s, doubling to 5 min.
                after: Duration::from_secs(5_u64 << snoozes.clamp(0, 6)).min(Duration::from_mins(5)),
                reason: format!("payload of {}: {error}", J::KIND),
            })
        }
        error => {
            Unread::Failed(Failure::permanent(format!("payload of {} cannot be read: {error}", J::KIND)))
        }
    })
}

/// A payload fit to be shown: without what is sealed in it.
pub fn shown(payload: &Value) -> Value {
    if sealed(payload).is_some() { json!({ "sealed": true }) } else { payload.clone() }
}
