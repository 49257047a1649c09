//! Logging in.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use diesel_async::AsyncConnection;
use poem::http::StatusCode;
use waybill_schema::{
    Conn, carts,
    users::{UserRow, UserStatus, accounts},
};

use super::{
    dto::{AuthDto, LoginRequest},
    sessions::{self, Client},
};
use crate::{
    auth::{password, secret},
    error::{ApiError, ApiResult, codes},
    state::AppState,
};

/// How long an account stays locked after the last of too many failures: as long as the limiter in memory takes to
/// forget, so that the answer does not tell accounts from addresses without one.
const LOCK: Duration = Duration::from_mins(1);

/// Checks the credentials and opens a session. The same answer, after the same time, whether the address is unknown, the
/// password wrong or the account deactivated.
pub async fn login(state: &AppState, request: LoginRequest, client: &Client) -> ApiResult<AuthDto> {
    let email = request.email.trim().to_lowercase();
    let keys = vec![format!("account:{email}"), format!("address:{}", client.addr.network())];
    let attempt = state.logins.attempt(keys).map_err(too_many)?;

    let mut conn = state.conn().await?;
    let user = accounts::by_email(&mut conn, &email).await?;
    drop(conn);
    if let Some(wait) = user.as_ref().and_then(locked_for) {
        return Err(too_many(wait));
    }
    let active = user.filter(|user| user.status == UserStatus::Active);
    let hash = active.as_ref().map(|user| user.password_hash.clone());
    // Longer than any password can be: not worth hashing, and wrong for certain.
    let usable = request.password.chars().count() <= password::MAX_LENGTH;
    let given = if usable { request.password } else { String::new() };
    let matches = state.passwords.verify(given, hash).await? && usable;

    let mut conn = state.conn().await?;
    let user = match active {
        Some(user) if matches => user,
        failed => {
            if let Some(user) = failed {
                let limit = i32::try_from(state.config.api.login_attempts_per_minute).unwrap_or(i32::MAX);
                let until = Utc::now() + TimeDelta::from_std(LOCK).unwrap_or_default();
                accounts::count_failed_login(&mut conn, user.id, limit, until).await?;
            }
            metrics::counter!("waybill_login_failures_total").increment(1);
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                codes::INVALID_CREDENTIALS,
                "the address or the password is wrong",
            ));
        }
    };
    state.logins.succeeded(attempt);
    (*conn)
        .transaction(async |conn: &mut Conn| {
            if user.failed_logins > 0 {
                accounts::clear_failed_logins(conn, user.id).await?;
            }
            let cart_id = match &request.cart {
                Some(cart) => {
                    carts::merge::into_customer(conn, cart.id, &secret::hash(&cart.token), user.id).await?
                }
                None => None,
            };
            let answer = sessions::open(state, conn, user, client).await?;
            Ok(AuthDto { cart_id, ..answer })
        })
        .await
}

fn locked_for(user: &UserRow) -> Option<Duration> {
    (user.locked_until? - Utc::now()).to_std().ok()
}

fn too_many(wait: Duration) -> ApiError {
    ApiError::rate_limited("too many failed log-ins; wait before the next", wait)
}
