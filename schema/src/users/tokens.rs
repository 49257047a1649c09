//! Single-use tokens that were mailed to a user.

use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{Bytea, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, sql};

#[derive(QueryableByName)]
struct Verified {
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
}

/// Spends a verification token and marks its user's address as proven; none if the token is unknown, spent or too old.
pub async fn verify_email(conn: &mut Conn, hash: &[u8]) -> QueryResult<Option<Uuid>> {
    let verified: Option<Verified> = sql("with spent as (
             update user_tokens set used_at = now()
             where hash = $1 and purpose = 'verify_email' and used_at is null and expires_at > now()
             returning user_id)
         update users u set email_verified_at = coalesce(u.email_verified_at, now()), updated_at = now()
         from spent where u.id = spent.user_id returning u.id as user_id")
    .bind::<Bytea, _>(hash)
    .get_result(conn)
    .await
    .optional()?;
    Ok(verified.map(|row| row.user_id))
}
