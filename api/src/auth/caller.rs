//! The caller of a request, found out by one query.

use poem::{Request, http::header};
use uuid::Uuid;
use waybill_schema::users::{self, UserRole};

use super::{scope::Scope, secret};
use crate::{
    error::{ApiError, ApiResult},
    state::AppState,
};

/// Who calls.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Nobody in particular.
    Guest,
    /// A signed-in customer (or vendor).
    Customer(User),
    /// A signed-in administrator.
    Admin(User),
    /// A machine.
    ApiKey(KeyCaller),
}

/// A signed-in user.
#[derive(Debug, Clone)]
pub struct User {
    /// The user's id.
    pub id: Uuid,
    /// The session that the access token belongs to.
    pub session_id: Uuid,
    /// Role, as it is now, whatever the token says.
    pub role: UserRole,
    /// E-mail address.
    pub email: String,
}

/// An API key in use.
#[derive(Debug, Clone)]
pub struct KeyCaller {
    /// The key's id.
    pub id: Uuid,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

impl Caller {
    /// The signed-in user, if there is one.
    pub fn user(&self) -> Option<&User> {
        match self {
            Self::Customer(user) | Self::Admin(user) => Some(user),
            Self::Guest | Self::ApiKey(_) => None,
        }
    }

    /// The signed-in user's id, if there is one.
    pub fn user_id(&self) -> Option<Uuid> {
        self.user().map(|user| user.id)
    }

    /// Whether it is an administrator in person.
    pub const fn is_admin(&self) -> bool {
        matches!(self, Self::Admin(_))
    }

    /// Whether the caller may do this.
    pub fn may(&self, scope: Scope) -> bool {
        match self {
            Self::Admin(_) => scope != Scope::AgreedPrices,
            Self::ApiKey(key) => key.scopes.contains(&scope),
            Self::Customer(_) | Self::Guest => false,
        }
    }

    /// 401 for guests, 403 for everybody else who may not.
    #[track_caller]
    pub fn require(&self, scope: Scope) -> ApiResult<()> {
        if self.may(scope) {
            return Ok(());
        }
        Err(match self {
            Self::Guest => ApiError::unauthenticated("credentials are required"),
            _ => ApiError::forbidden(format!("the scope {scope} is required")),
        })
    }

    /// 401 unless a user is signed in.
    #[track_caller]
    pub fn require_user(&self) -> ApiResult<&User> {
        self.user().ok_or_else(|| match self {
            Self::ApiKey(_) => ApiError::forbidden("this is for signed-in users, not for API keys"),
            _ => ApiError::unauthenticated("signing in is required"),
        })
    }

    /// The caller in an audit trail: `customer`, `guest`, `admin:<id>`, `api_key:<id>`.
    pub fn actor(&self) -> String {
        match self {
            Self::Guest => "guest".to_owned(),
            Self::Customer(_) => "customer".to_owned(),
            Self::Admin(user) => format!("admin:{}", user.id),
            Self::ApiKey(key) => format!("api_key:{}", key.id),
        }
    }
}

const API_KEY_HEADER: &str = "x-api-key";

/// Finds out who calls. Credentials that do not count are a 401, also where none are needed: a client that believes it is
/// signed in must learn that it is not.
pub async fn identify(request: &Request) -> ApiResult<Caller> {
    let state = AppState::of(request)?;
    let headers = request.headers();
    let bearer = headers.get(header::AUTHORIZATION);
    let key = headers.get(API_KEY_HEADER);
    match (bearer, key) {
        (None, None) => Ok(Caller::Guest),
        (Some(_), Some(_)) => Err(ApiError::malformed("either Authorization or X-Api-Key, not both")),
        (Some(value), None) => {
            let (scheme, token) =
                value.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(ApiError::unauthenticated("the scheme of Authorization is Bearer"));
            }
            by_token(state, token.trim()).await
        }
        (None, Some(value)) => by_key(state, value.as_bytes()).await,
    }
}

async fn by_token(state: &AppState, token: &str) -> ApiResult<Caller> {
    let claims = state.tokens.verify(token)?;
    let mut conn = state.conn().await?;
    let user = users::sessions::user_of(&mut conn, claims.sid).await?;
    let user = user
        .filter(|user| user.id == claims.sub)
        .ok_or_else(|| ApiError::unauthenticated("the session is over: sign in again"))?;
    let role = user.role;
    let user = User { id: user.id, session_id: claims.sid, role, email: user.email };
    Ok(if role == UserRole::Admin { Caller::Admin(user) } else { Caller::Customer(user) })
}

async fn by_key(state: &AppState, key: &[u8]) -> ApiResult<Caller> {
    let mut conn = state.conn().await?;
    let holder = users::api_keys::by_hash(&mut conn, &secret::hash(key)).await?;
    let holder = holder.ok_or_else(|| ApiError::unauthenticated("the API key is unknown or revoked"))?;
    if holder.stale {
        // Once a minute and key; not worth a task of its own.
        users::api_keys::touch(&mut conn, holder.id).await?;
    }
    // A scope that this version does not know grants nothing.
    let scopes = holder.scopes.iter().filter_map(|scope| scope.parse().ok()).collect();
    Ok(Caller::ApiKey(KeyCaller { id: holder.id, scopes }))
}
