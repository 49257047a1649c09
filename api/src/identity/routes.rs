use poem::web::Data;
use poem_openapi::{OpenApi, param::Path, payload::Json};
use uuid::Uuid;
use waybill_schema::users::{self, RevokedReason, accounts};

use super::{
    dto::{
        AuthDto, LoginRequest, RefreshRequest, RegisterRequest, SessionDto, SessionsDto, UserDto,
        VerifyEmailRequest,
    },
    login, register,
    sessions::{self, Client},
};
use crate::{
    app::Tag,
    auth::{SignedIn, secret},
    error::{ApiError, ApiResult},
    http::{Body, Created, NoContent},
    state::AppState,
};

/// `/v1/auth`.
pub struct Auth;

#[OpenApi(prefix_path = "/v1/auth", tag = "Tag::Identity")]
impl Auth {
    /// Open an account
    ///
    /// Signs in at once; a mail asks to verify the address. 409 `email_taken`.
    #[oai(path = "/register", method = "post", operation_id = "register")]
    async fn register(
        &self,
        state: Data<&AppState>,
        client: Client,
        body: Body<RegisterRequest>,
    ) -> ApiResult<Created<AuthDto>> {
        let body = register::register(&state, body.0, &client).await?;
        Ok(Created { location: "/v1/me".to_owned(), body })
    }

    /// Log in
    ///
    /// 401 `invalid_credentials`; 429 with `Retry-After` after repeated failures. A guest's cart is merged into the
    /// customer's.
    #[oai(path = "/login", method = "post", operation_id = "login")]
    async fn login(
        &self,
        state: Data<&AppState>,
        client: Client,
        body: Body<LoginRequest>,
    ) -> ApiResult<Json<AuthDto>> {
        Ok(Json(login::login(&state, body.0, &client).await?))
    }

    /// Refresh the tokens
    ///
    /// Each refresh token works once. Using one a second time revokes its session: 401 `token_reused`.
    #[oai(path = "/refresh", method = "post", operation_id = "refresh")]
    async fn refresh(&self, state: Data<&AppState>, body: Body<RefreshRequest>) -> ApiResult<Json<AuthDto>> {
        Ok(Json(sessions::refresh(&state, &body.0.refresh_token).await?))
    }

    /// Log out
    #[oai(path = "/logout", method = "post", operation_id = "logout")]
    async fn logout(&self, user: SignedIn, state: Data<&AppState>) -> ApiResult<NoContent> {
        let SignedIn(user) = user;
        let mut conn = state.conn().await?;
        users::sessions::revoke(&mut conn, user.id, user.session_id, RevokedReason::Logout).await?;
        Ok(NoContent)
    }

    /// Log out everywhere
    #[oai(path = "/logout-all", method = "post", operation_id = "logoutAll")]
    async fn logout_all(&self, user: SignedIn, state: Data<&AppState>) -> ApiResult<NoContent> {
        let mut conn = state.conn().await?;
        users::sessions::revoke_all(&mut conn, user.0.id, RevokedReason::LogoutAll).await?;
        Ok(NoContent)
    }

    /// Where am I logged in?
    #[oai(path = "/sessions", method = "get", operation_id = "listSessions")]
    async fn sessions(&self, user: SignedIn, state: Data<&AppState>) -> ApiResult<Json<SessionsDto>> {
        let SignedIn(user) = user;
        let mut conn = state.conn().await?;
        let rows = users::sessions::for_user(&mut conn, user.id).await?;
        let data = rows.into_iter().map(|row| SessionDto::new(row, user.session_id)).collect();
        Ok(Json(SessionsDto { data }))
    }

    /// End one of my sessions
    #[oai(path = "/sessions/:id", method = "delete", operation_id = "endSession")]
    async fn end_session(
        &self,
        user: SignedIn,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<NoContent> {
        let mut conn = state.conn().await?;
        if users::sessions::revoke(&mut conn, user.0.id, id.0, RevokedReason::Logout).await? {
            Ok(NoContent)
        } else {
            Err(ApiError::not_found("session"))
        }
    }

    /// Verify an e-mail address
    ///
    /// With the token that was mailed to it; it works once.
    #[oai(path = "/verify-email", method = "post", operation_id = "verifyEmail")]
    async fn verify_email(
        &self,
        state: Data<&AppState>,
        body: Body<VerifyEmailRequest>,
    ) -> ApiResult<NoContent> {
        let mut conn = state.conn().await?;
        let hash = secret::hash(body.0.token.trim());
        match users::tokens::verify_email(&mut conn, &hash).await? {
            Some(_) => Ok(NoContent),
            None => Err(ApiError::field("token", "invalid", "is unknown, used already, or too old")),
        }
    }
}

/// `/v1/me`.
pub struct Me;

#[OpenApi(prefix_path = "/v1", tag = "Tag::Identity")]
impl Me {
    /// Who am I?
    #[oai(path = "/me", method = "get", operation_id = "getMe")]
    async fn me(&self, user: SignedIn, state: Data<&AppState>) -> ApiResult<Json<UserDto>> {
        let mut conn = state.conn().await?;
        let user = accounts::by_id(&mut conn, user.0.id).await?;
        Ok(Json(user.ok_or_else(|| ApiError::not_found("user"))?.into()))
    }
}
