//! What batches and workflows have in common before they are started: a name, whose they are, what follows their end.

use diesel::sql_types::{Bool, Jsonb, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_schema::{Conn, new_id};

use super::{
    FlowError,
    planned::{Common, Planned, write},
};
use crate::contract::Job;

/// A flow's row, as far as it is said.
pub(super) struct Head {
    pub(super) name: String,
    pub(super) common: Common,
    pub(super) when_over: Option<Planned>,
    pub(super) when_dead: Option<Planned>,
    pub(super) for_job: Option<Uuid>,
    /// The first thing that could not be put into words; told when the flow is started.
    pub(super) error: Option<FlowError>,
}

impl Head {
    pub(super) fn new(name: String) -> Self {
        let common = Common { flow: new_id(), ..Common::default() };
        Self { name, common, when_over: None, when_dead: None, for_job: None, error: None }
    }

    pub(super) fn plan<J: Job>(&mut self, job: &J) -> Option<Planned> {
        let planned = Planned::of(job);
        self.noted(planned)
    }

    /// What there is, or `None` with the error kept.
    pub(super) fn noted<T>(&mut self, said: Result<T, impl Into<FlowError>>) -> Option<T> {
        said.map_err(|error| {
            self.error.get_or_insert(error.into());
        })
        .ok()
    }

    /// Writes the row in the transaction open on `conn`.
    pub(super) async fn insert(
        &self,
        conn: &mut Conn,
        kind: &str,
        sealed: bool,
        on_dead_step: &str,
    ) -> Result<(), FlowError> {
        waybill_schema::sql(
            "insert into flows (id, kind, name, sealed, on_dead_step, when_over, when_dead, correlation_id, owner_id, subject_id,
                 for_job)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind::<SqlUuid, _>(self.common.flow)
        .bind::<Text, _>(kind)
        .bind::<Text, _>(&self.name)
        .bind::<Bool, _>(sealed)
        .bind::<Text, _>(on_dead_step)
        .bind::<Nullable<Jsonb>, _>(self.when_over.as_ref().map(write).transpose()?)
        .bind::<Nullable<Jsonb>, _>(self.when_dead.as_ref().map(write).transpose()?)
        .bind::<Nullable<SqlUuid>, _>(self.common.correlation_id)
        .bind::<Nullable<SqlUuid>, _>(self.common.owner_id)
        .bind::<Nullable<SqlUuid>, _>(self.common.subject_id)
        .bind::<Nullable<SqlUuid>, _>(self.for_job)
        .execute(conn)
        .await?;
        Ok(())
    }
}

/// The methods by which a builder with a `head` says what its flow has in common with others.
macro_rules! head_methods {
    ($when_over:literal, $when_dead:literal) => {
        /// Its id, to be named in the arguments of its jobs and callbacks.
        pub fn id(&self) -> Uuid {
            self.head.common.flow
        }

        #[doc = $when_over]
        pub fn when_over<J: Job>(mut self, job: &J) -> Self {
            self.head.when_over = self.head.plan(job);
            self
        }

        #[doc = $when_dead]
        pub fn when_dead<J: Job>(mut self, job: &J) -> Self {
            self.head.when_dead = self.head.plan(job);
            self
        }

        /// The user who may read it and its jobs.
        pub fn owner(mut self, owner_id: Uuid) -> Self {
            self.head.common.owner_id = Some(owner_id);
            self
        }

        /// Whose trail it belongs to.
        pub fn correlation(mut self, correlation_id: Uuid) -> Self {
            self.head.common.correlation_id = Some(correlation_id);
            self
        }

        /// The person whose data it is about.
        pub fn subject(mut self, subject_id: Uuid) -> Self {
            self.head.common.subject_id = Some(subject_id);
            self
        }
    };
}

pub(super) use head_methods;
