//! A job that is not enqueued yet.

use diesel::QueryResult;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::Conn;

use super::FlowError;
use crate::{
    contract::Job,
    enqueue::{Enqueue, EnqueueError, RawJob, Row, insert},
};

/// Everything of a job that its arguments say, to be enqueued when its flow comes to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Planned {
    #[serde(flatten)]
    job: RawJob,
    partition_key: Option<String>,
    limit_key: Option<String>,
    correlation_id: Option<Uuid>,
    subject_id: Option<Uuid>,
    pub(super) compensates: bool,
}

/// What a flow's jobs have of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Common {
    pub(super) flow: Uuid,
    pub(super) correlation_id: Option<Uuid>,
    pub(super) owner_id: Option<Uuid>,
    pub(super) subject_id: Option<Uuid>,
}

impl Planned {
    /// Refuses one that is unique: when its turn comes another may have its slot, and what stands for a step must be that step's
    /// own job, with its own end.
    pub(super) fn of<J: Job>(job: &J) -> Result<Self, FlowError> {
        if job.unique().is_some() {
            return Err(FlowError::Unique(J::KIND));
        }
        Ok(Self {
            job: RawJob::of(job)?,
            partition_key: job.partition_key(),
            limit_key: job.limit_key(),
            correlation_id: job.correlation_id(),
            subject_id: job.subject_id(),
            compensates: J::COMPENSATES,
        })
    }

    /// The job as a step of its flow, or, without a step's name, as what is enqueued beside it.
    pub(super) fn row(self, common: &Common, step: Option<&str>) -> Row {
        let options = Enqueue {
            owner_id: common.owner_id,
            causation_id: Some(common.flow),
            correlation_id: self.correlation_id.or(common.correlation_id),
            subject_id: self.subject_id.or(common.subject_id),
            flow_id: step.map(|_| common.flow),
            step: step.map(ToOwned::to_owned),
            ..Enqueue::default()
        };
        let mut row = Row::raw(self.job, options);
        row.partition_key = self.partition_key;
        row.limit_key = self.limit_key;
        row.compensates = self.compensates;
        row
    }
}

/// Reads what [`Planned`] wrote.
pub(super) fn read(value: Value) -> QueryResult<Planned> {
    serde_json::from_value(value).map_err(|error| diesel::result::Error::DeserializationError(error.into()))
}

/// For a column.
pub(super) fn write(planned: &Planned) -> Result<Value, EnqueueError> {
    Ok(serde_json::to_value(planned)?)
}

/// Enqueues what a flow comes to, in statements that fail as others do.
pub(super) async fn put(conn: &Conn, rows: &[Row]) -> QueryResult<()> {
    match insert(conn, rows).await {
        Ok(_) => Ok(()),
        Err(EnqueueError::Database(error)) => Err(error),
        Err(error) => Err(diesel::result::Error::SerializationError(error.into())),
    }
}
