//! Opening and refreshing sessions.

use chrono::{DateTime, TimeDelta, Utc};
use diesel_async::AsyncConnection;
use poem::{FromRequest, Request, RequestBody, http::StatusCode, http::header};
use waybill_schema::{
    Conn,
    users::{UserRow, accounts, sessions, sessions::Rotation},
};

use super::dto::AuthDto;
use crate::{
    auth::secret,
    error::{ApiError, ApiResult, codes},
    middleware::ClientAddr,
    state::AppState,
};

const REFRESH_PREFIX: &str = "wbr_";

/// What a session notes of the client that opened it.
#[derive(Debug, Clone)]
pub struct Client {
    /// Address.
    pub addr: ClientAddr,
    /// Program, cut to 200 characters.
    pub user_agent: Option<String>,
}

impl<'a> FromRequest<'a> for Client {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> poem::Result<Self> {
        let addr = ClientAddr::from_request(request, body).await?;
        let user_agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self { addr, user_agent: user_agent.map(|text| text.chars().take(200).collect()) })
    }
}

fn refresh_expiry(state: &AppState) -> DateTime<Utc> {
    Utc::now() + TimeDelta::from_std(state.config.auth.refresh_ttl).unwrap_or(TimeDelta::days(30))
}

/// Opens a session for a user who has proved to be one, in the transaction on `conn`.
pub async fn open(state: &AppState, conn: &mut Conn, user: UserRow, client: &Client) -> ApiResult<AuthDto> {
    let refresh_token = secret::generate(REFRESH_PREFIX);
    let ip = client.addr.0.to_string();
    let session = sessions::open(
        conn,
        user.id,
        Some(&ip),
        client.user_agent.as_deref(),
        &secret::hash(&refresh_token),
        refresh_expiry(state),
    )
    .await?;
    Ok(AuthDto {
        access_token: state.tokens.issue(user.id, session, user.role.as_str())?,
        refresh_token,
        token_type: "Bearer".to_owned(),
        expires_in: state.tokens.expires_in(),
        user: user.into(),
        cart_id: None,
    })
}

/// Exchanges a refresh token.
pub async fn refresh(state: &AppState, token: &str) -> ApiResult<AuthDto> {
    let refresh_token = secret::generate(REFRESH_PREFIX);
    let (old, new) = (secret::hash(token.trim()), secret::hash(&refresh_token));
    let expires_at = refresh_expiry(state);
    let mut conn = state.conn().await?;
    // Reuse revokes the session, so it must commit as well: the refusal is made after the transaction.
    let rotation = (*conn)
        .transaction(async |conn: &mut Conn| sessions::rotate(conn, &old, &new, expires_at).await)
        .await?;
    match rotation {
        Rotation::Rotated { session_id, user_id } => {
            let user =
                accounts::by_id(&mut conn, user_id).await?.ok_or_else(|| ApiError::not_found("user"))?;
            Ok(AuthDto {
                access_token: state.tokens.issue(user_id, session_id, user.role.as_str())?,
                refresh_token,
                token_type: "Bearer".to_owned(),
                expires_in: state.tokens.expires_in(),
                user: user.into(),
                cart_id: None,
            })
        }
        Rotation::Reused { user_id } => {
            tracing::warn!(%user_id, "a refresh token came twice: the session is revoked");
            Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                codes::TOKEN_REUSED,
                "this refresh token was used before; the session is revoked, sign in again",
            ))
        }
        Rotation::Unknown => Err(ApiError::unauthenticated("the refresh token is unknown or too old")),
    }
}
