//! What a job of a schedule knows of it.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::Conn;

use crate::enqueue::EnqueueError;

/// A time of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// The schedule's name.
    pub schedule: String,
    /// The time.
    #[serde(rename = "for")]
    pub at: DateTime<Utc>,
}

impl Scheduled {
    /// As it is in the database; nothing if another version wrote it in another way.
    pub fn read(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }

    /// Tells a job that was enqueued in the transaction open on `conn`. A statement of its own, so that the one by which every
    /// job is enqueued does not carry what hardly any has.
    pub async fn tell(&self, conn: &mut Conn, job_id: Uuid) -> Result<(), EnqueueError> {
        waybill_schema::sql(
            "update jobs set scheduled = jsonb_build_object('schedule', $2, 'for', $3) where id = $1",
        )
        .bind::<SqlUuid, _>(job_id)
        .bind::<Text, _>(&self.schedule)
        .bind::<Timestamptz, _>(self.at)
        .execute(conn)
        .await?;
        Ok(())
    }

    /// Jobs of a schedule whose times queue up run one after the other, in the order of its times.
    pub fn partition_key(&self) -> String {
        format!("schedule:{}", self.schedule)
    }
}
