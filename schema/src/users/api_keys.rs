//! Keys for machines: scoped, stored as a hash, revocable.

use chrono::{DateTime, Utc};
use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, QueryResult, Queryable, QueryableByName, Selectable,
    SelectableHelper,
    sql_types::{Array, Bool, Bytea, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, new_id, sql, tables::api_keys};

/// A key as administrators see it. The key itself is nowhere.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = api_keys, check_for_backend(diesel::pg::Pg))]
pub struct ApiKeyRow {
    /// Id.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// What a request made with a key may do.
#[derive(Debug, Clone, QueryableByName)]
pub struct KeyHolder {
    /// The key.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Its scopes.
    #[diesel(sql_type = Array<Text>)]
    pub scopes: Vec<String>,
    /// Whether the time of its last use is older than a minute.
    #[diesel(sql_type = Bool)]
    pub stale: bool,
}

/// The live key of a hash; none if it was never made or is revoked.
pub async fn by_hash(conn: &mut Conn, hash: &[u8]) -> QueryResult<Option<KeyHolder>> {
    sql("select id, scopes, coalesce(last_used_at < now() - interval '1 minute', true) as stale
         from api_keys where hash = $1 and revoked_at is null")
    .bind::<Bytea, _>(hash)
    .get_result(conn)
    .await
    .optional()
}

/// Notes that the key is in use; at most one of many simultaneous callers writes.
pub async fn touch(conn: &mut Conn, id: Uuid) -> QueryResult<()> {
    sql("update api_keys set last_used_at = now()
         where id = $1 and coalesce(last_used_at < now() - interval '1 minute', true)")
    .bind::<SqlUuid, _>(id)
    .execute(conn)
    .await?;
    Ok(())
}

/// Makes a key.
pub async fn insert(
    conn: &mut Conn,
    name: &str,
    prefix: &str,
    hash: &[u8],
    scopes: &[&str],
    created_by: Uuid,
) -> QueryResult<ApiKeyRow> {
    diesel::insert_into(api_keys::table)
        .values((
            api_keys::id.eq(new_id()),
            api_keys::name.eq(name),
            api_keys::prefix.eq(prefix),
            api_keys::hash.eq(hash),
            api_keys::scopes.eq(scopes),
            api_keys::created_by.eq(created_by),
        ))
        .returning(ApiKeyRow::as_returning())
        .get_result(conn)
        .await
}

/// Keys before `before`, newest first, revoked ones included.
pub async fn list(conn: &mut Conn, before: Option<Uuid>, limit: i64) -> QueryResult<Vec<ApiKeyRow>> {
    let mut query = api_keys::table.into_boxed();
    if let Some(before) = before {
        query = query.filter(api_keys::id.lt(before));
    }
    query.order(api_keys::id.desc()).limit(limit).select(ApiKeyRow::as_select()).load(conn).await
}

/// Revokes a key; false if there is no such live one.
pub async fn revoke(conn: &mut Conn, id: Uuid) -> QueryResult<bool> {
    let revoked =
        diesel::update(api_keys::table.filter(api_keys::id.eq(id)).filter(api_keys::revoked_at.is_null()))
            .set(api_keys::revoked_at.eq(diesel::dsl::now))
            .execute(conn)
            .await?;
    Ok(revoked == 1)
}
