//! A job on its way into the table.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::new_id;

use super::{Enqueue, EnqueueError, PRIORITIES, RawJob};
use crate::{
    contract::Job,
    seal,
    unique::{MAX_KEY, Unique},
};

/// One job as it goes into the table.
pub(crate) struct Row {
    pub id: Uuid,
    pub kind: String,
    pub version: i16,
    pub queue: String,
    pub priority: i16,
    pub run_at: Option<DateTime<Utc>>,
    pub max_attempts: i16,
    pub partition_key: Option<String>,
    pub correlation_id: Option<Uuid>,
    pub causation_id: Option<Uuid>,
    pub owner_id: Option<Uuid>,
    pub traceparent: Option<String>,
    pub limit_key: Option<String>,
    pub flow_id: Option<Uuid>,
    pub step: Option<String>,
    pub subject_id: Option<Uuid>,
    pub compensates: bool,
    pub payload: Value,
    pub unique: Option<Unique>,
}

impl Row {
    /// A job that is data.
    pub(crate) fn raw(job: RawJob, options: Enqueue) -> Self {
        Self {
            id: options.id.unwrap_or_else(new_id),
            kind: job.kind,
            version: job.version,
            queue: job.queue,
            priority: options.priority,
            run_at: options.run_at,
            max_attempts: job.max_attempts,
            partition_key: options.partition_key,
            correlation_id: options.correlation_id,
            causation_id: options.causation_id,
            owner_id: options.owner_id,
            traceparent: options.traceparent.or_else(crate::trace::traceparent),
            limit_key: None,
            flow_id: options.flow_id,
            step: options.step,
            subject_id: options.subject_id,
            compensates: false,
            payload: job.payload,
            unique: options.unique,
        }
    }

    pub(crate) fn new<J: Job>(job: &J, options: Enqueue) -> Result<Self, EnqueueError> {
        Ok(Self {
            id: options.id.unwrap_or_else(new_id),
            kind: J::KIND.to_owned(),
            version: J::VERSION,
            queue: J::QUEUE.to_owned(),
            priority: options.priority,
            run_at: options.run_at,
            max_attempts: J::POLICY.max_attempts,
            partition_key: job.partition_key().or(options.partition_key),
            correlation_id: options.correlation_id.or_else(|| job.correlation_id()),
            causation_id: options.causation_id,
            owner_id: options.owner_id,
            traceparent: options.traceparent.or_else(crate::trace::traceparent),
            limit_key: job.limit_key(),
            flow_id: options.flow_id,
            step: options.step,
            subject_id: options.subject_id.or_else(|| job.subject_id()),
            compensates: J::COMPENSATES,
            payload: seal::payload(job)?,
            unique: options.unique.or_else(|| job.unique()),
        })
    }

    pub(super) fn check(&self) -> Result<(), EnqueueError> {
        if !PRIORITIES.contains(&self.priority) {
            return Err(EnqueueError::Priority(self.priority));
        }
        match &self.unique {
            Some(unique) if unique.key.is_empty() || unique.key.len() > MAX_KEY => {
                Err(EnqueueError::UniqueKey(unique.key.len()))
            }
            _ => Ok(()),
        }
    }

    /// The slot's name: a kind's keys are its own.
    pub(super) fn slot(&self) -> Option<String> {
        self.unique.as_ref().map(|unique| format!("{}:{}", self.kind, unique.key))
    }

    /// Whether two differ in nothing but their ids and arguments.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.version == other.version
            && self.queue == other.queue
            && self.priority == other.priority
            && self.run_at == other.run_at
            && self.max_attempts == other.max_attempts
            && self.partition_key == other.partition_key
            && self.correlation_id == other.correlation_id
            && self.causation_id == other.causation_id
            && self.owner_id == other.owner_id
            && self.traceparent == other.traceparent
            && self.limit_key == other.limit_key
            && self.flow_id == other.flow_id
            && self.step == other.step
            && self.subject_id == other.subject_id
            && self.compensates == other.compensates
    }
}
