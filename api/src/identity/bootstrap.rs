//! The administrator that a new installation starts with.

use secrecy::ExposeSecret;
use waybill_schema::{
    Email,
    users::{NewUser, UserRole, accounts},
};

use crate::{
    error::{ApiError, ApiResult},
    state::AppState,
};

/// Makes the configured administrator if there is none yet. Any number of replicas may try at once: the address is
/// unique, and the losers find it taken.
pub async fn admin(state: &AppState) -> ApiResult<()> {
    let auth = &state.config.auth;
    let (Some(email), Some(password)) = (&auth.bootstrap_admin_email, &auth.bootstrap_admin_password) else {
        return Ok(());
    };
    let mut conn = state.conn().await?;
    if accounts::admin_exists(&mut conn).await? {
        return Ok(());
    }
    let email = Email::parse(email).map_err(ApiError::internal)?;
    let password_hash = state.passwords.hash(password.expose_secret().to_owned()).await?;
    let admin = NewUser {
        email,
        password_hash,
        first_name: "First".to_owned(),
        last_name: "Administrator".to_owned(),
        phone: None,
        role: UserRole::Admin,
    };
    if let Some(user) = accounts::insert(&mut conn, &admin).await? {
        tracing::info!(user_id = %user.id, "made the first administrator");
    } else {
        tracing::warn!("the first administrator's address has an account already: nobody is administrator");
    }
    Ok(())
}
