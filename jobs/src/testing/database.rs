//! A database per test.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    path::Path,
    time::{Duration, Instant},
};

use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use diesel_async::{RunQueryDsl, pooled_connection::bb8::PooledConnection};
use tokio::sync::OnceCell;
use waybill_schema::{Pool, db};

/// Names the Postgres to create databases in, by the URL of an account that may.
const VARIABLE: &str = "WAYBILL_TEST_DATABASE_URL";

/// Only one process at a time makes the template. The number means nothing; it only has to be ours.
const TEMPLATE_LOCK: i64 = 7_741_920_251_123;

static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// A migrated database of a test's own, removed when this is dropped.
///
/// It is a copy of a template that is migrated once for each state of the migrations, which takes a tenth of the time of
/// migrating.
pub struct TestDatabase {
    admin: String,
    name: String,
    url: String,
    pool: Pool,
}

impl TestDatabase {
    /// Creates one in the Postgres that `WAYBILL_TEST_DATABASE_URL` names.
    pub async fn create() -> Self {
        let admin = std::env::var(VARIABLE).unwrap_or_else(|_| {
            panic!("{VARIABLE} names no Postgres to test with; `cargo xtask test` provides one")
        });
        let template = TEMPLATE.get_or_init(|| template(&admin)).await;
        let name = format!("waybill_test_{}", waybill_schema::new_id().simple());
        copy(&admin, template, &name).await;
        let url = with_database(&admin, &name);
        let pool = db::connect(&url, 10, Duration::from_secs(10)).await.expect("the new database answers");
        Self { admin, name, url, pool }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// At most ten connections to it.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// One of them.
    pub async fn conn(&self) -> PooledConnection<'_, AsyncPgConnection> {
        self.pool.get().await.expect("a connection")
    }

    /// Runs statements without values.
    pub async fn execute(&self, statements: &str) {
        self.conn().await.batch_execute(statements).await.unwrap_or_else(|e| panic!("{statements}: {e}"));
    }

    /// The number that a query answers with in its only column, named `n`.
    pub async fn count(&self, query: &str) -> i64 {
        #[derive(diesel::QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            n: i64,
        }
        let row: Row = diesel::sql_query(query)
            .get_result(&mut self.conn().await)
            .await
            .unwrap_or_else(|e| panic!("{query}: {e}"));
        row.n
    }

    /// Ends every other connection to it, as a restart of Postgres does.
    pub async fn cut_connections(&self) {
        let mut conn = AsyncPgConnection::establish(&self.admin).await.expect("the admin database answers");
        waybill_schema::sql(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = $1",
        )
        .bind::<diesel::sql_types::Text, _>(&self.name)
        .execute(&mut conn)
        .await
        .expect("connections can be ended");
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (admin, statement) =
            (self.admin.clone(), format!("drop database if exists {} with (force)", self.name));
        // Drop cannot wait in the test's runtime, which may have one thread only.
        let dropped = std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            runtime.block_on(async {
                if let Ok(mut conn) = AsyncPgConnection::establish(&admin).await {
                    let _ = conn.batch_execute(&statement).await;
                }
            });
        });
        let _ = dropped.join();
    }
}

/// The name of a migrated template, made if there is none of this state of the migrations.
async fn template(admin: &str) -> String {
    let name = format!("waybill_template_{:016x}", migrations_hash());
    let mut conn = AsyncPgConnection::establish(admin)
        .await
        .unwrap_or_else(|e| panic!("{VARIABLE} does not lead to a Postgres: {e}"));
    conn.batch_execute(&format!("select pg_advisory_lock({TEMPLATE_LOCK})")).await.expect("the lock");
    let known: bool = diesel::select(diesel::dsl::sql::<diesel::sql_types::Bool>(&format!(
        "exists (select from pg_database where datname = '{name}')"
    )))
    .get_result(&mut conn)
    .await
    .expect("the list of databases");
    if !known {
        // Under another name until it is whole, so that a test run that dies leaves no half template.
        let draft = format!("{name}_draft");
        conn.batch_execute(&format!("drop database if exists {draft} with (force)"))
            .await
            .expect("no old draft");
        conn.batch_execute(&format!("create database {draft}")).await.expect("a draft of the template");
        db::migrate(&with_database(admin, &draft)).await.expect("the migrations apply");
        retried(&mut conn, &format!("alter database {draft} rename to {name}")).await;
    }
    conn.batch_execute(&format!("select pg_advisory_unlock({TEMPLATE_LOCK})"))
        .await
        .expect("the lock is ours");
    name
}

async fn copy(admin: &str, template: &str, name: &str) {
    let mut conn = AsyncPgConnection::establish(admin).await.expect("the admin database answers");
    retried(&mut conn, &format!("create database {name} template {template}")).await;
}

/// A database whose last connection has just been closed still counts as in use for a moment.
async fn retried(conn: &mut AsyncPgConnection, statement: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match conn.batch_execute(statement).await {
            Ok(()) => return,
            Err(error) => assert!(Instant::now() < end, "{statement}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Over the migrations' texts where the sources are at hand, as they are for every test.
fn migrations_hash() -> u64 {
    let mut hasher = DefaultHasher::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut folders: Vec<_> =
        std::fs::read_dir(folder).expect("the migrations").map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    for folder in folders {
        folder.file_name().hash(&mut hasher);
        std::fs::read(folder.join("up.sql")).unwrap_or_default().hash(&mut hasher);
    }
    hasher.finish()
}

/// `url` with another database.
fn with_database(url: &str, name: &str) -> String {
    let (address, query) = url.split_once('?').map_or((url, None), |(address, query)| (address, Some(query)));
    let start = address.find("://").map_or(0, |at| at + 3);
    let end = address[start..].find('/').map_or(address.len(), |at| start + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{name}{query}", &address[..end])
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn the_database_of_a_url_is_replaced_and_nothing_else() {
        for (url, expected) in [
            ("postgres://u:p@host:1/postgres", "postgres://u:p@host:1/x"),
            ("postgres://host", "postgres://host/x"),
            ("postgres://host/?sslmode=require", "postgres://host/x?sslmode=require"),
        ] {
            assert_eq!(with_database(url, "x"), expected);
        }
    }
}
