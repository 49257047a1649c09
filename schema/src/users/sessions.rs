//! Sessions and their refresh tokens. A session is a family: using one of its tokens twice ends it.

use chrono::{DateTime, Utc};
use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, QueryResult, Queryable, QueryableByName, Selectable,
    SelectableHelper,
    sql_types::{Bool, Bytea, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{RevokedReason, UserRole};
use crate::{Conn, new_id, sql, tables::sessions};

/// A log-in, as its owner sees it.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = sessions, check_for_backend(diesel::pg::Pg))]
pub struct SessionRow {
    /// Id.
    pub id: Uuid,
    /// The address it was opened from.
    pub ip: Option<String>,
    /// The program it was opened with.
    pub user_agent: Option<String>,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When it was last refreshed.
    pub last_used_at: DateTime<Utc>,
    /// When it ends unless it is refreshed.
    pub expires_at: DateTime<Utc>,
}

/// Whose session it is: what every request needs to know.
#[derive(Debug, Clone, QueryableByName)]
pub struct SessionUser {
    /// The user.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// The role, as it is now.
    #[diesel(sql_type = Text)]
    pub role: UserRole,
    /// The e-mail address.
    #[diesel(sql_type = Text)]
    pub email: String,
}

/// The user of a live session of an active user; none otherwise. One index look-up each: asked with every request.
pub async fn user_of(conn: &mut Conn, session: Uuid) -> QueryResult<Option<SessionUser>> {
    sql("select u.id, u.role, u.email from sessions s join users u on u.id = s.user_id
         where s.id = $1 and s.revoked_at is null and s.expires_at > now() and u.status = 'active'")
    .bind::<SqlUuid, _>(session)
    .get_result(conn)
    .await
    .optional()
}

/// Opens a session with its first refresh token; answers its id.
pub async fn open(
    conn: &mut Conn,
    user: Uuid,
    ip: Option<&str>,
    user_agent: Option<&str>,
    token_hash: &[u8],
    expires_at: DateTime<Utc>,
) -> QueryResult<Uuid> {
    let id = new_id();
    sql("with session as (
             insert into sessions (id, user_id, ip, user_agent, expires_at) values ($1, $2, $3, $4, $5))
         insert into refresh_tokens (hash, session_id, expires_at) values ($6, $1, $5)")
    .bind::<SqlUuid, _>(id)
    .bind::<SqlUuid, _>(user)
    .bind::<diesel::sql_types::Nullable<Text>, _>(ip)
    .bind::<diesel::sql_types::Nullable<Text>, _>(user_agent)
    .bind::<Timestamptz, _>(expires_at)
    .bind::<Bytea, _>(token_hash)
    .execute(conn)
    .await?;
    Ok(id)
}

/// What became of a refresh token that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// It was good and is spent; the session goes on with the new one.
    Rotated {
        /// The session.
        session_id: Uuid,
        /// Its user.
        user_id: Uuid,
    },
    /// It was spent before: the session is revoked.
    Reused {
        /// Its user.
        user_id: Uuid,
    },
    /// It never was, is too old, or its session is over.
    Unknown,
}

#[derive(QueryableByName)]
struct Rotated {
    #[diesel(sql_type = SqlUuid)]
    session_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
}

#[derive(QueryableByName)]
struct Spent {
    #[diesel(sql_type = SqlUuid)]
    session_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
    #[diesel(sql_type = Bool)]
    used: bool,
}

/// Exchanges a refresh token for a new one. Of two simultaneous uses one wins and the other counts as reuse. Must run in
/// a transaction.
pub async fn rotate(
    conn: &mut Conn,
    hash: &[u8],
    new_hash: &[u8],
    expires_at: DateTime<Utc>,
) -> QueryResult<Rotation> {
    let rotated: Option<Rotated> = sql(
        "with spent as (
             update refresh_tokens t set used_at = now() from sessions s, users u
             where t.hash = $1 and t.used_at is null and t.expires_at > now()
               and s.id = t.session_id and s.revoked_at is null and s.expires_at > now()
               and u.id = s.user_id and u.status = 'active'
             returning s.id as session_id, s.user_id),
         extended as (
             update sessions set last_used_at = now(), expires_at = $3 where id in (select session_id from spent)),
         fresh as (
             insert into refresh_tokens (hash, session_id, expires_at) select $2, session_id, $3 from spent)
         select session_id, user_id from spent",
    )
    .bind::<Bytea, _>(hash)
    .bind::<Bytea, _>(new_hash)
    .bind::<Timestamptz, _>(expires_at)
    .get_result(conn)
    .await
    .optional()?;
    if let Some(Rotated { session_id, user_id }) = rotated {
        return Ok(Rotation::Rotated { session_id, user_id });
    }
    let known: Option<Spent> = sql("select s.id as session_id, s.user_id, t.used_at is not null as used
         from refresh_tokens t join sessions s on s.id = t.session_id where t.hash = $1")
    .bind::<Bytea, _>(hash)
    .get_result(conn)
    .await
    .optional()?;
    match known {
        Some(Spent { session_id, user_id, used: true }) => {
            revoke(conn, user_id, session_id, RevokedReason::Reuse).await?;
            Ok(Rotation::Reused { user_id })
        }
        _ => Ok(Rotation::Unknown),
    }
}

/// The live sessions of a user, newest first.
pub async fn for_user(conn: &mut Conn, user: Uuid) -> QueryResult<Vec<SessionRow>> {
    sessions::table
        .filter(sessions::user_id.eq(user))
        .filter(sessions::revoked_at.is_null())
        .filter(sessions::expires_at.gt(diesel::dsl::now))
        .order(sessions::id.desc())
        .limit(100)
        .select(SessionRow::as_select())
        .load(conn)
        .await
}

/// Ends one session of a user; false if there is no such live one.
pub async fn revoke(conn: &mut Conn, user: Uuid, session: Uuid, reason: RevokedReason) -> QueryResult<bool> {
    let revoked = diesel::update(
        sessions::table
            .filter(sessions::id.eq(session))
            .filter(sessions::user_id.eq(user))
            .filter(sessions::revoked_at.is_null()),
    )
    .set((sessions::revoked_at.eq(diesel::dsl::now), sessions::revoked_reason.eq(Some(reason.as_str()))))
    .execute(conn)
    .await?;
    Ok(revoked == 1)
}

/// Ends every session of a user; answers how many there were.
pub async fn revoke_all(conn: &mut Conn, user: Uuid, reason: RevokedReason) -> QueryResult<usize> {
    diesel::update(sessions::table.filter(sessions::user_id.eq(user)).filter(sessions::revoked_at.is_null()))
        .set((sessions::revoked_at.eq(diesel::dsl::now), sessions::revoked_reason.eq(Some(reason.as_str()))))
        .execute(conn)
        .await
}
