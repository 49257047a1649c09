//! Why rows were not written.

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use waybill_jobs::{EnqueueError, Failure};

/// Why a chunk of rows was rolled back.
#[derive(Debug)]
pub enum ChunkError {
    /// The database refused a value: one of the rows is to blame, and the others can go in.
    Refused(String),
    /// Not the rows' fault: the attempt ends and the next one goes on from the same place.
    Failure(Failure),
}

impl From<DieselError> for ChunkError {
    fn from(error: DieselError) -> Self {
        match &error {
            DieselError::DatabaseError(
                DatabaseErrorKind::UniqueViolation
                | DatabaseErrorKind::ForeignKeyViolation
                | DatabaseErrorKind::CheckViolation
                | DatabaseErrorKind::NotNullViolation
                | DatabaseErrorKind::ExclusionViolation,
                what,
            ) => Self::Refused(what.constraint_name().unwrap_or_else(|| what.message()).to_owned()),
            _ => Self::Failure(error.into()),
        }
    }
}

impl From<EnqueueError> for ChunkError {
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::Database(error) => error.into(),
            error => Self::Failure(error.into()),
        }
    }
}

impl From<Failure> for ChunkError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}
