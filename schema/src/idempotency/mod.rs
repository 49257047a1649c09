//! Idempotency keys: one request, one effect, one answer, however often it is sent.
//!
//! [`look`] first and [`store`] last in the transaction that does the work. An advisory lock of the transaction stands for
//! the key meanwhile, so a holder that dies leaves nothing behind and the happy path costs no commit of its own.

use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{Bool, Bytea, Jsonb, Nullable, SmallInt, Text},
};
use diesel_async::RunQueryDsl;
use serde_json::Value;

use crate::{Conn, sql::sql};

/// What a key says of a request.
#[derive(Debug, Clone)]
pub enum Claim {
    /// The key is ours until the transaction ends: do the work, then [`store`] the answer.
    Ours,
    /// The work is done: this was the answer.
    Done(Answer),
    /// The same key came with another request.
    Mismatch,
    /// A request with this key is being worked on.
    Running,
}

/// A stored answer.
#[derive(Debug, Clone, QueryableByName)]
pub struct Answer {
    /// HTTP status.
    #[diesel(sql_type = SmallInt)]
    pub status: i16,
    /// `Location` header.
    #[diesel(sql_type = Nullable<Text>)]
    pub location: Option<String>,
    /// JSON body.
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub body: Option<Value>,
}

#[derive(QueryableByName)]
struct Locked {
    #[diesel(sql_type = Bool)]
    locked: bool,
}

#[derive(QueryableByName)]
struct Known {
    #[diesel(sql_type = Bool)]
    known: bool,
}

#[derive(QueryableByName)]
struct Held {
    #[diesel(sql_type = Bool)]
    same: bool,
    #[diesel(embed)]
    answer: Answer,
}

/// Looks `key` up for `scope` and, if it is new, holds it until the transaction open on `conn` ends.
pub async fn look(conn: &Conn, scope: &str, key: &str, fingerprint: &[u8]) -> QueryResult<Claim> {
    // The lock and the look are two statements: one alone would look with a snapshot from before the lock. They are sent
    // together and run in this order.
    let (Locked { locked }, held) =
        tokio::try_join!(lock(conn, scope, key), held(conn, scope, key, fingerprint))?;
    Ok(match (held, locked) {
        (Some(Held { same: true, answer }), _) => Claim::Done(answer),
        (Some(Held { same: false, .. }), _) => Claim::Mismatch,
        (None, true) => Claim::Ours,
        (None, false) => Claim::Running,
    })
}

/// Whether `scope` has an answer under `key`.
pub async fn is_known(conn: &Conn, scope: &str, key: &str) -> QueryResult<bool> {
    let row: Known = sql("select exists (select from idempotency_keys
                                         where scope = $1 and key = $2 and expires_at > now()) as known")
    .bind::<Text, _>(scope)
    .bind::<Text, _>(key)
    .get_result(&mut &*conn)
    .await?;
    Ok(row.known)
}

async fn lock(conn: &Conn, scope: &str, key: &str) -> QueryResult<Locked> {
    sql("select pg_try_advisory_xact_lock(hashtextextended($1 || chr(31) || $2, 0)) as locked")
        .bind::<Text, _>(scope)
        .bind::<Text, _>(key)
        .get_result(&mut &*conn)
        .await
}

async fn held(conn: &Conn, scope: &str, key: &str, fingerprint: &[u8]) -> QueryResult<Option<Held>> {
    sql("select fingerprint = $3 as same, status, location, body
         from idempotency_keys where scope = $1 and key = $2 and expires_at > now()")
    .bind::<Text, _>(scope)
    .bind::<Text, _>(key)
    .bind::<Bytea, _>(fingerprint)
    .get_result(&mut &*conn)
    .await
    .optional()
}

/// Stores the answer for 24 hours, in the transaction that did the work: both are there, or neither.
pub async fn store(
    conn: &Conn,
    scope: &str,
    key: &str,
    fingerprint: &[u8],
    answer: &Answer,
) -> QueryResult<()> {
    sql("insert into idempotency_keys (scope, key, fingerprint, status, location, body, expires_at)
         values ($1, $2, $3, $4, $5, $6, now() + interval '24 hours')
         on conflict (scope, key) do update
             set fingerprint = excluded.fingerprint, status = excluded.status, location = excluded.location,
                 body = excluded.body, created_at = now(), expires_at = excluded.expires_at")
    .bind::<Text, _>(scope)
    .bind::<Text, _>(key)
    .bind::<Bytea, _>(fingerprint)
    .bind::<SmallInt, _>(answer.status)
    .bind::<Nullable<Text>, _>(answer.location.as_deref())
    .bind::<Nullable<Jsonb>, _>(answer.body.as_ref())
    .execute(&mut &*conn)
    .await?;
    Ok(())
}
