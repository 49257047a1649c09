//! What the layers below may tell us. `?` on their errors in a handler ends here; `track_caller` keeps the line of the `?`.

use std::time::Duration;

use diesel_async::pooled_connection::PoolError;
use waybill_jobs::EnqueueError;

use super::ApiError;

/// A database that is restarting is back within seconds.
const DATABASE_RETRY: Duration = Duration::from_secs(2);

impl From<diesel::result::Error> for ApiError {
    #[track_caller]
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind as Kind, Error};
        match &error {
            Error::NotFound => Self::not_found("resource"),
            Error::BrokenTransactionManager | Error::DatabaseError(Kind::ClosedConnection, _) => {
                Self::unavailable("the database cannot be reached", DATABASE_RETRY).because(error)
            }
            // Two requests wrote the same rows in another order; the loser may simply try again.
            Error::DatabaseError(Kind::SerializationFailure, _) => {
                Self::unavailable("somebody else changed the same rows", Duration::from_secs(1))
                    .because(error)
            }
            Error::DatabaseError(_, info) if is_away(info.message()) => {
                Self::unavailable("the database cannot be reached", DATABASE_RETRY).because(error)
            }
            Error::DatabaseError(_, info) if is_unfit(info.message()) => {
                Self::malformed("a text holds a NUL, or a time is out of range").because(error)
            }
            _ => Self::internal(error),
        }
    }
}

/// What Postgres cannot hold, whoever sent it: a NUL in a text, a time before 4713 BC.
fn is_unfit(message: &str) -> bool {
    message.contains("invalid byte sequence for encoding")
        || message.contains("unsupported Unicode escape sequence")
        || message.contains("timestamp out of range")
}

/// Postgres says so in words while it starts, stops or is overloaded; diesel has no kind for it.
fn is_away(message: &str) -> bool {
    message.contains("terminating connection")
        || message.contains("the database system is")
        || message.contains("connection closed")
        || message.contains("statement timeout")
}

impl From<bb8::RunError<PoolError>> for ApiError {
    #[track_caller]
    fn from(error: bb8::RunError<PoolError>) -> Self {
        Self::unavailable("the database cannot be reached", DATABASE_RETRY).because(error)
    }
}

impl From<EnqueueError> for ApiError {
    #[track_caller]
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::Database(error) => error.into(),
            // Handlers choose neither priorities nor unique keys from input.
            other => Self::internal(other),
        }
    }
}

impl From<serde_json::Error> for ApiError {
    #[track_caller]
    fn from(error: serde_json::Error) -> Self {
        Self::internal(error)
    }
}

impl From<waybill_schema::domain::money::MoneyError> for ApiError {
    // At the edge money is parsed with its field's name; what fails later was in the database.
    #[track_caller]
    fn from(error: waybill_schema::domain::money::MoneyError) -> Self {
        Self::internal(error)
    }
}

/// The name of the database constraint that an error tells of, if it does.
pub fn constraint(error: &diesel::result::Error) -> Option<&str> {
    match error {
        diesel::result::Error::DatabaseError(_, info) => info.constraint_name(),
        _ => None,
    }
}
