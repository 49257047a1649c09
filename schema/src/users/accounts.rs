//! Rows of `users`.

use chrono::{DateTime, Utc};
use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, QueryResult, Queryable, Selectable, SelectableHelper,
    sql_types::{Integer, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{UserRole, UserStatus};
use crate::{Conn, Email, new_id, sql, tables::users};

/// An account.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(diesel::pg::Pg))]
pub struct UserRow {
    /// Id.
    pub id: Uuid,
    /// E-mail address as typed; compared without regard to case.
    pub email: String,
    /// argon2id, PHC string.
    pub password_hash: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Telephone.
    pub phone: Option<String>,
    /// Role.
    pub role: UserRole,
    /// Active or not.
    pub status: UserStatus,
    /// When the address proved to be theirs.
    pub email_verified_at: Option<DateTime<Utc>>,
    /// Failed log-ins since the last success.
    pub failed_logins: i32,
    /// No log-in before this.
    pub locked_until: Option<DateTime<Utc>>,
    /// When the account was opened.
    pub created_at: DateTime<Utc>,
}

/// An account to open.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// E-mail address.
    pub email: Email,
    /// argon2id, PHC string.
    pub password_hash: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Telephone.
    pub phone: Option<String>,
    /// Role.
    pub role: UserRole,
}

diesel::define_sql_function! {
    /// Postgres' `lower`: the index on users is by it.
    fn lower(text: Text) -> Text;
}

/// Opens the account; none if the address has one.
pub async fn insert(conn: &mut Conn, user: &NewUser) -> QueryResult<Option<UserRow>> {
    diesel::insert_into(users::table)
        .values((
            users::id.eq(new_id()),
            users::email.eq(user.email.as_str()),
            users::password_hash.eq(&user.password_hash),
            users::first_name.eq(&user.first_name),
            users::last_name.eq(&user.last_name),
            users::phone.eq(&user.phone),
            users::role.eq(user.role),
            users::email_verified_at.eq((user.role == UserRole::Admin).then(Utc::now)),
        ))
        .on_conflict_do_nothing()
        .returning(UserRow::as_returning())
        .get_result(conn)
        .await
        .optional()
}

/// The account of an address, whatever its case.
pub async fn by_email(conn: &mut Conn, email: &str) -> QueryResult<Option<UserRow>> {
    users::table
        .filter(lower(users::email).eq(lower(email)))
        .select(UserRow::as_select())
        .first(conn)
        .await
        .optional()
}

/// The account of an id.
pub async fn by_id(conn: &mut Conn, id: Uuid) -> QueryResult<Option<UserRow>> {
    users::table.find(id).select(UserRow::as_select()).first(conn).await.optional()
}

/// Whether there is an administrator who can log in.
pub async fn admin_exists(conn: &mut Conn) -> QueryResult<bool> {
    diesel::select(diesel::dsl::exists(
        users::table.filter(users::role.eq(UserRole::Admin)).filter(users::status.eq(UserStatus::Active)),
    ))
    .get_result(conn)
    .await
}

/// Counts a failed log-in; from the `limit`th in a row on, each locks the account until `lock_until`.
pub async fn count_failed_login(
    conn: &mut Conn,
    id: Uuid,
    limit: i32,
    lock_until: DateTime<Utc>,
) -> QueryResult<()> {
    sql("update users set failed_logins = failed_logins + 1,
             locked_until = case when failed_logins + 1 >= $2 then $3 else locked_until end
         where id = $1")
    .bind::<SqlUuid, _>(id)
    .bind::<Integer, _>(limit)
    .bind::<Timestamptz, _>(lock_until)
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets failed log-ins after a success.
pub async fn clear_failed_logins(conn: &mut Conn, id: Uuid) -> QueryResult<()> {
    diesel::update(users::table.find(id))
        .set((users::failed_logins.eq(0), users::locked_until.eq(None::<DateTime<Utc>>)))
        .execute(conn)
        .await?;
    Ok(())
}
