//! What lies outside the tables of the job platform and goes by age, or is sealed under a key that goes.

use std::time::Duration;

use diesel::QueryableByName;
use diesel::sql_types::{Binary, Integer, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_jobs::{Failure, JobContext};
use waybill_platform::{files::Files, vault::Vault};
use waybill_schema::{Conn, sql, webhooks::secret_purpose};

use crate::fail_point;

/// Files and sealed secrets, as far as this process has them: none in tests of something else.
#[derive(Clone, Default)]
pub struct Stores {
    /// Where uploads are.
    pub files: Option<Files>,
    /// What seals the secrets of webhook endpoints.
    pub vault: Option<Vault>,
}

/// Imports in one statement.
const BATCH: usize = 100;

#[derive(QueryableByName)]
struct Import {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Text)]
    object: String,
}

#[derive(QueryableByName)]
struct Endpoint {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Binary)]
    secret: Vec<u8>,
}

/// Removes imports that have been over for so many days, with their errors and their files. Not those whose job is a dead
/// letter: whoever retries it needs them. The file first: what is left of a half-way removal is a row that says where to go on.
/// Ends when the job is cancelled: files go one by one, and a store may take its time.
pub(super) async fn remove_imports(
    conn: &mut Conn,
    files: Option<&Files>,
    days: i32,
    cx: &JobContext,
) -> Result<usize, Failure> {
    let Some(files) = files else { return Ok(0) };
    let mut removed = 0;
    loop {
        let aged: Vec<Import> = sql("select id, object from imports i
             where status in ('completed', 'failed') and finished_at < now() - make_interval(days => $1)
               and not exists (select from dead_letters d where d.id = i.job_id)
             order by id limit 100")
        .bind::<Integer, _>(days)
        .load(conn)
        .await?;
        let whole = aged.len() == BATCH;
        for import in aged {
            if cx.cancelled.is_cancelled() {
                return Ok(removed);
            }
            if let Err(error) = files.delete(&import.object).await {
                // The store is away. So it is for the others, and the next run comes soon.
                tracing::warn!(import = %import.id, %error, "the file of an old import was not removed");
                return Ok(removed);
            }
            removed +=
                sql("delete from imports where id = $1").bind::<SqlUuid, _>(import.id).execute(conn).await?;
        }
        if !whole {
            return Ok(removed);
        }
    }
}

/// How long nobody may have added to a file that was never finished: no request and no job takes so long.
const UNFINISHED: Duration = Duration::from_hours(24);

/// Removes what processes that were killed have left of the files they wrote; returns how many there were.
pub(super) async fn remove_unfinished(files: Option<&Files>) -> usize {
    let Some(files) = files else { return 0 };
    files.remove_unfinished(UNFINISHED).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "files that were never finished were not removed");
        0
    })
}

/// Seals anew what is sealed under a key that is being given up; returns how many there were. One that cannot be opened is left as
/// it is, and said.
pub(super) async fn reseal_endpoints(conn: &mut Conn, vault: Option<&Vault>) -> Result<usize, Failure> {
    let Some(vault) = vault else { return Ok(0) };
    let endpoints: Vec<Endpoint> =
        sql("select id, secret from webhook_endpoints order by id").load(conn).await?;
    let mut resealed = 0;
    for Endpoint { id, secret } in endpoints {
        match vault.reseal(&secret, &secret_purpose(id)) {
            Ok(None) => {}
            Ok(Some(fresh)) => {
                // Unless it has been changed meanwhile.
                resealed += sql("update webhook_endpoints set secret = $3 where id = $1 and secret = $2")
                    .bind::<SqlUuid, _>(id)
                    .bind::<Binary, _>(secret)
                    .bind::<Binary, _>(fresh)
                    .execute(conn)
                    .await?;
                fail_point!("reseal.after_one");
            }
            Err(error) => {
                tracing::error!(endpoint = %id, %error, "the secret of a webhook endpoint cannot be opened");
            }
        }
    }
    Ok(resealed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use waybill_jobs::{enqueue, kinds::Maintain};
    use waybill_platform::{Config, files};

    use super::remove_imports;
    use crate::testing::TestDatabase;

    #[tokio::test]
    async fn no_file_is_removed_once_the_job_is_cancelled() {
        let folder = tempfile::tempdir().unwrap();
        let settings = [
            ("WAYBILL_DATABASE__URL", "postgres://nobody@localhost/none".to_owned()),
            ("WAYBILL_FILES__URL", folder.path().display().to_string()),
        ];
        let files = files::store(&Config::from_variables(settings).unwrap().files).unwrap();
        files.put_bytes("old.csv", "sku".into()).await.unwrap();
        let db = TestDatabase::new().await;
        db.execute(
            "insert into imports (id, kind, status, filename, object, size_bytes, job_id, finished_at)
             values (gen_random_uuid(), 'products', 'completed', 'f.csv', 'old.csv', 1, gen_random_uuid(),
                     now() - interval '100 days')",
        )
        .await;
        let job = enqueue(&*db.conn().await, &Maintain {}).await.unwrap();
        let mut cx = db.claim(job).await;
        cx.cancelled.cancel();
        let mut conn = db.conn().await;
        assert_eq!(remove_imports(&mut conn, Some(&files), 90, &cx).await.unwrap(), 0);
        assert!(files.size("old.csv").await.is_ok());
        cx.cancelled = tokio_util::sync::CancellationToken::new();
        assert_eq!(remove_imports(&mut conn, Some(&files), 90, &cx).await.unwrap(), 1);
        assert!(files.size("old.csv").await.is_err());
        assert_eq!(db.count("select count(*) as n from imports").await, 0);
    }
}
