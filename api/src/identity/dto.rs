//! What goes over the wire.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use uuid::Uuid;
use waybill_schema::users::{SessionRow, UserRow};

/// An account to open.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct RegisterRequest {
    /// E-mail address.
    pub email: String,
    /// 8 to 128 characters; not a common one, not the address.
    pub password: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Telephone.
    pub phone: Option<String>,
}

/// Credentials, and the cart filled as a guest.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct LoginRequest {
    /// E-mail address.
    pub email: String,
    /// Password.
    pub password: String,
    /// The guest's cart, to be merged into the customer's.
    pub cart: Option<GuestCart>,
}

/// A guest's cart.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct GuestCart {
    /// Its id.
    pub id: Uuid,
    /// Its token.
    pub token: String,
}

/// A refresh token to exchange.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct RefreshRequest {
    /// The newest refresh token of the session.
    pub refresh_token: String,
}

/// A token that was mailed.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct VerifyEmailRequest {
    /// The token in the mail.
    pub token: String,
}

/// An account.
#[derive(Debug, Object)]
#[oai(rename = "User")]
pub struct UserDto {
    /// Id.
    pub id: Uuid,
    /// E-mail address.
    pub email: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Telephone.
    #[oai(skip_serializing_if_is_none)]
    pub phone: Option<String>,
    /// `customer`, `vendor` or `admin`.
    pub role: String,
    /// Whether the address proved to be theirs.
    pub email_verified: bool,
    /// When the account was opened.
    pub created_at: DateTime<Utc>,
}

impl From<UserRow> for UserDto {
    fn from(user: UserRow) -> Self {
        Self {
            id: user.id,
            email: user.email,
            first_name: user.first_name,
            last_name: user.last_name,
            phone: user.phone,
            role: user.role.as_str().to_owned(),
            email_verified: user.email_verified_at.is_some(),
            created_at: user.created_at,
        }
    }
}

/// A log-in.
#[derive(Debug, Object)]
#[oai(rename = "Authentication")]
pub struct AuthDto {
    /// The account.
    pub user: UserDto,
    /// For Authorization: Bearer.
    pub access_token: String,
    /// For the next refresh, once.
    pub refresh_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Life of the access token, in seconds.
    pub expires_in: u64,
    /// The customer's cart after a merge.
    #[oai(skip_serializing_if_is_none)]
    pub cart_id: Option<Uuid>,
}

/// A log-in that goes on.
#[derive(Debug, Object)]
#[oai(rename = "Session")]
pub struct SessionDto {
    /// Id.
    pub id: Uuid,
    /// Whether it is the one that asks.
    pub current: bool,
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

impl SessionDto {
    /// As the session `current` sees it.
    pub fn new(row: SessionRow, current: Uuid) -> Self {
        Self {
            current: row.id == current,
            id: row.id,
            ip: row.ip,
            user_agent: row.user_agent,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            expires_at: row.expires_at,
        }
    }
}

/// The sessions of a user.
#[derive(Debug, Object)]
#[oai(rename = "Sessions")]
pub struct SessionsDto {
    /// Newest first, 100 at most.
    pub data: Vec<SessionDto>,
}
