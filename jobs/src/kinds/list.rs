//! Every kind by its name: for those who enqueue jobs that are data (schedules, operators).

use std::{future::Future, pin::Pin};

use serde_json::Value;
use waybill_schema::Conn;

use crate::{Enqueue, EnqueueError, Enqueued, Job, try_enqueue};

type Enqueueing<'a> = Pin<Box<dyn Future<Output = Result<Enqueued, EnqueueError>> + Send + 'a>>;

/// A kind, without its type.
#[derive(Debug, Clone, Copy)]
pub struct KindInfo {
    /// [`Job::KIND`].
    pub kind: &'static str,
    /// [`Job::QUEUE`].
    pub queue: &'static str,
    /// [`Job::VERSION`].
    pub version: i16,
    /// Attempts of [`Job::POLICY`].
    pub max_attempts: i16,
    /// [`Job::COMPENSATES`].
    pub compensates: bool,
    /// [`Job::SEALED`].
    pub sealed: bool,
    /// [`Job::OWNER_CANCELS`].
    pub owner_cancels: bool,
    /// [`Job::CARRIES_ORDER`].
    pub carries_order: bool,
    read: fn(Value) -> Result<Value, EnqueueError>,
    enqueue: for<'a> fn(&'a Conn, Value, Enqueue) -> Enqueueing<'a>,
}

/// Every kind of this binary, in the order of their names.
pub const ALL: &[KindInfo] = super::ALL;

/// A kind by its name.
pub fn find(kind: &str) -> Option<&'static KindInfo> {
    ALL.iter().find(|info| info.kind == kind)
}

/// Why arguments do not fit a kind.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentsError {
    /// They lack something, or something has the wrong type.
    #[error(transparent)]
    Unreadable(#[from] EnqueueError),
    /// They have what the kind does not know.
    #[error("the kind knows no argument {0:?}")]
    Unknown(String),
}

impl KindInfo {
    /// What is known of a kind by its type.
    pub const fn of<J: Job>() -> Self {
        Self {
            kind: J::KIND,
            queue: J::QUEUE,
            version: J::VERSION,
            max_attempts: J::POLICY.max_attempts,
            compensates: J::COMPENSATES,
            sealed: J::SEALED,
            owner_cancels: J::OWNER_CANCELS,
            carries_order: J::CARRIES_ORDER,
            read: read::<J>,
            enqueue: enqueue::<J>,
        }
    }

    /// The arguments as the kind writes them, defaults filled in.
    pub fn check(&self, payload: &Value) -> Result<Value, ArgumentsError> {
        let read = (self.read)(payload.clone())?;
        if let (Some(given), Some(known)) = (payload.as_object(), read.as_object())
            && let Some(unknown) = given.keys().find(|name| !known.contains_key(*name))
        {
            return Err(ArgumentsError::Unknown(unknown.clone()));
        }
        Ok(read)
    }

    /// Enqueues a job of this kind in the transaction open on `conn`, as if its type were known: with its keys and policy, and
    /// with the answer that there is one already, if there may be only one.
    pub async fn enqueue(
        &self,
        conn: &Conn,
        payload: Value,
        options: Enqueue,
    ) -> Result<Enqueued, EnqueueError> {
        (self.enqueue)(conn, payload, options).await
    }
}

fn read<J: Job>(payload: Value) -> Result<Value, EnqueueError> {
    Ok(serde_json::to_value(serde_json::from_value::<J>(payload)?)?)
}

fn enqueue<J: Job>(conn: &Conn, payload: Value, options: Enqueue) -> Enqueueing<'_> {
    Box::pin(async move {
        let job: J = serde_json::from_value(payload)?;
        try_enqueue(conn, &job, options).await
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_listed_once() {
        let mut names: Vec<_> = ALL.iter().map(|info| info.kind).collect();
        let listed = names.clone();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names, listed);
    }

    #[test]
    fn arguments_are_checked_against_the_kind() {
        let mail = find("mail.send").unwrap();
        let payload = json!({ "mail_id": "01900000-0000-7000-8000-000000000000" });
        assert_eq!(mail.check(&payload).unwrap(), payload);
        assert!(matches!(mail.check(&json!({})), Err(ArgumentsError::Unreadable(_))));
        let unknown = find("housekeeping.maintain").unwrap().check(&json!({ "days": 3 })).unwrap_err();
        assert!(unknown.to_string().contains("days"));
        assert!(find("mail.sent").is_none());
    }
}
