//! What this crate's tests share: services over a database of the test's own, and jobs claimed as a worker claims them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::ops::Deref;

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Integer, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_jobs::JobContext;
use waybill_platform::Config;
use waybill_schema::new_id;

use crate::Services;

/// [`waybill_jobs::testing::TestDatabase`], and what handlers need beside it.
pub struct TestDatabase(waybill_jobs::testing::TestDatabase);

impl Deref for TestDatabase {
    type Target = waybill_jobs::testing::TestDatabase;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl TestDatabase {
    pub async fn new() -> Self {
        Self(waybill_jobs::testing::TestDatabase::create().await)
    }

    /// The only column of the only row, as text.
    pub async fn text(&self, query: &str) -> String {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Nullable<Text>)]
            value: Option<String>,
        }
        let query = format!("select value::text from ({query}) as x(value)");
        let row: Row = diesel::sql_query(query).get_result(&mut *self.conn().await).await.unwrap();
        row.value.unwrap_or_default()
    }

    /// Services over this database with the default configuration and these settings.
    pub fn services(&self, settings: &[(&str, &str)]) -> Services {
        waybill_platform::install_crypto();
        let url = [("WAYBILL_DATABASE__URL", self.url())];
        let config = Config::from_variables(url.iter().chain(settings).copied()).unwrap();
        Services::new(config, self.pool().clone()).unwrap()
    }

    /// Claims a job as a worker does, whoever holds it.
    pub async fn claim(&self, id: Uuid) -> JobContext {
        #[derive(QueryableByName)]
        struct Claimed {
            #[diesel(sql_type = Text)]
            kind: String,
            #[diesel(sql_type = SmallInt)]
            attempt: i16,
            #[diesel(sql_type = SmallInt)]
            max_attempts: i16,
            #[diesel(sql_type = BigInt)]
            claim: i64,
            #[diesel(sql_type = Integer)]
            snoozes: i32,
            #[diesel(sql_type = Nullable<SqlUuid>)]
            correlation_id: Option<Uuid>,
            #[diesel(sql_type = Timestamptz)]
            created_at: chrono::DateTime<chrono::Utc>,
        }
        let claimed: Claimed = diesel::sql_query(
            "update jobs set state = 'running', attempt = attempt + 1, claim = claim + 1, worker_id = $2,
                 claimed_at = now()
             where id = $1 returning kind, attempt, max_attempts, claim, snoozes, correlation_id, created_at",
        )
        .bind::<SqlUuid, _>(id)
        .bind::<SqlUuid, _>(new_id())
        .get_result(&mut *self.conn().await)
        .await
        .unwrap();
        JobContext {
            id,
            kind: claimed.kind,
            attempt: claimed.attempt,
            max_attempts: claimed.max_attempts,
            claim: claimed.claim,
            snoozes: claimed.snoozes,
            correlation_id: claimed.correlation_id,
            created_at: claimed.created_at,
            flow_id: None,
            step: None,
            undo: false,
            scheduled: None,
            logs: waybill_jobs::logs::Logs::default(),
            pool: self.pool().clone(),
            clock: waybill_jobs::Clock::system(),
            cancelled: CancellationToken::new(),
        }
    }
}
