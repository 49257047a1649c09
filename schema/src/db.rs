//! Connections and migrations.

use std::time::Duration;

use diesel_async::{
    AsyncPgConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, PoolableConnection as _, RecyclingMethod, bb8,
    },
};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

/// A pool of Postgres connections.
pub type Pool = bb8::Pool<AsyncPgConnection>;
/// The connection every query here takes; a transaction is a connection with one open.
pub type Conn = AsyncPgConnection;

/// How long a session of ours may leave a transaction alone.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// The migrations of the `migrations` folder, compiled in.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations");

/// Why there is no connection, or no migrated schema.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The pool could not be built or gave no connection in time.
    #[error("no database connection: {0}")]
    Pool(String),
    /// A migration failed; its transaction is rolled back.
    #[error("migration failed: {0}")]
    Migration(String),
}

/// A pool of at most `max` connections; a checkout waits at most `connect_timeout`.
pub async fn connect(url: &str, max: u32, connect_timeout: Duration) -> Result<Pool, DbError> {
    // The default asks the server `select 1` at every checkout, a round trip per request and claim. The client knows
    // when its socket is closed, which is what a restarted server looks like; to ask that is free.
    let mut config = ManagerConfig::<AsyncPgConnection>::default();
    config.recycling_method = RecyclingMethod::CustomFunction(Box::new(|conn| {
        let open = if conn.is_broken() { Err(broken()) } else { Ok(()) };
        Box::pin(std::future::ready(open))
    }));
    let manager = AsyncDieselConnectionManager::new_with_config(with_session_settings(url), config);
    bb8::Pool::builder()
        .max_size(max)
        // The connection that came back last goes out next: its session has the statements prepared, and its process is warm.
        // In turn, as is the default, a caller by itself meets every connection cold.
        .queue_strategy(::bb8::QueueStrategy::Lifo)
        .connection_timeout(connect_timeout)
        .build(manager)
        .await
        .map_err(|e| DbError::Pool(e.to_string()))
}

fn broken() -> diesel::result::Error {
    let why = Box::new("the connection is closed".to_owned());
    diesel::result::Error::DatabaseError(diesel::result::DatabaseErrorKind::ClosedConnection, why)
}

/// Applies every pending migration. Any number of processes may call it at once: an advisory lock lets one work.
pub async fn migrate(url: &str) -> Result<Vec<String>, DbError> {
    use diesel::Connection as _;
    use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
    use diesel_migrations::MigrationHarness as _;

    let url = url.to_owned();
    tokio::task::spawn_blocking(move || {
        let failed = |e: &dyn std::fmt::Display| DbError::Migration(e.to_string());
        let mut conn = AsyncConnectionWrapper::<AsyncPgConnection>::establish(&url)
            .map_err(|e| DbError::Pool(e.to_string()))?;
        // The lock's number means nothing; it only has to be ours. Released with the connection.
        diesel::RunQueryDsl::execute(diesel::sql_query("select pg_advisory_lock(7741920251121)"), &mut conn)
            .map_err(|e| failed(&e))?;
        let done = conn.run_pending_migrations(MIGRATIONS).map_err(|e| failed(&e))?;
        Ok(done.iter().map(ToString::to_string).collect())
    })
    .await
    .map_err(|e| DbError::Migration(e.to_string()))?
}

/// Asks the database for nothing, to see whether it answers.
pub async fn ping(pool: &Pool) -> Result<(), DbError> {
    use diesel_async::RunQueryDsl as _;
    let mut conn = pool.get().await.map_err(|e| DbError::Pool(e.to_string()))?;
    crate::sql("select 1").execute(&mut conn).await.map_err(|e| DbError::Pool(e.to_string()))?;
    Ok(())
}

/// `url` with a limit on the run of each statement; zero for none.
pub fn with_statement_timeout(url: &str, limit: Duration) -> String {
    if limit.is_zero() {
        return url.to_owned();
    }
    with_setting(url, "statement_timeout", &limit.as_millis().to_string())
}

/// `url` with a limit on how long a statement waits for a lock that somebody else has.
pub fn with_lock_timeout(url: &str, limit: Duration) -> String {
    with_setting(url, "lock_timeout", &limit.as_millis().to_string())
}

/// `url` with a limit on the pause between two statements of a transaction where the 10 s of [`with_session_settings`] are too
/// long; not below a second.
pub fn with_idle_limit(url: &str, limit: Duration) -> String {
    let limit = limit.clamp(Duration::from_secs(1), IDLE_LIMIT);
    with_setting(url, "idle_in_transaction_session_timeout", &limit.as_millis().to_string())
}

/// `url` with what every session of ours asks of the server, unless it says otherwise itself.
///
/// A limit on the pause between two statements of a transaction: the server ends the session after it. A process that hangs,
/// or is cut off, in the middle of a transaction keeps its rows locked as long as the server takes its connection for
/// alive, which may be hours; whoever takes its jobs over would wait for them. Nobody pauses on purpose: no transaction is
/// open across a call to the outside. Shorter than a worker's lease, so that the rows are free by then: a worker whose lease is
/// below the usual 15 s asks for less ([`with_idle_limit`]).
///
/// And what a page out of order costs: 1.1 times one in order, as on solid-state disks, instead of 4 as on turning ones. On a
/// new system, plans are made while tables are empty and kept until they are first analysed; at 4 some of them read the
/// whole table for ten keys, which took a tenth of Postgres' time.
pub fn with_session_settings(url: &str) -> String {
    let url = with_setting(url, "random_page_cost", "1.1");
    with_setting(&url, "idle_in_transaction_session_timeout", &IDLE_LIMIT.as_millis().to_string())
}

/// `url` with a setting of the server's for its sessions, before those it has: of two for one setting the last counts.
fn with_setting(url: &str, name: &str, value: &str) -> String {
    let setting = format!("-c%20{name}%3D{value}");
    if let Some((before, after)) = url.split_once("options=") {
        return format!("{before}options={setting}%20{after}");
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options={setting}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{with_idle_limit, with_session_settings, with_statement_timeout};

    #[test]
    fn settings_are_added_to_what_the_url_has() {
        let second = Duration::from_secs(1);
        assert_eq!(with_statement_timeout("postgres://h/d", Duration::ZERO), "postgres://h/d");
        let one = with_statement_timeout("postgres://h/d?sslmode=require", second);
        assert_eq!(one, "postgres://h/d?sslmode=require&options=-c%20statement_timeout%3D1000");
        assert_eq!(
            with_session_settings(&with_statement_timeout("postgres://h/d", second)),
            "postgres://h/d?options=-c%20idle_in_transaction_session_timeout%3D10000%20-c%20random_page_cost%3D1.1\
             %20-c%20statement_timeout%3D1000"
        );
        // The last one counts.
        assert_eq!(
            with_session_settings(&with_idle_limit("postgres://h/d", 2 * second)),
            "postgres://h/d?options=-c%20idle_in_transaction_session_timeout%3D10000%20-c%20random_page_cost%3D1.1\
             %20-c%20idle_in_transaction_session_timeout%3D2000"
        );
        let hour = with_idle_limit("postgres://h/d", Duration::from_hours(1));
        assert_eq!(hour, "postgres://h/d?options=-c%20idle_in_transaction_session_timeout%3D10000");
    }
}
