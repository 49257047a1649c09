//! Access tokens: short-lived JWTs. What they claim is not believed beyond the session's id; the session is asked after with
//! every request, so that a revoked token is refused at once.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waybill_platform::config::AuthConfig;

use crate::error::{ApiError, ApiResult};

/// What an access token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: Uuid,
    /// The session.
    pub sid: Uuid,
    /// The user's role when the token was made, for clients.
    pub role: String,
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// The installation.
    pub iss: String,
}

/// Signs and checks access tokens (HMAC-SHA-256).
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    issuer: String,
    ttl: Duration,
}

impl Tokens {
    /// With the configured key, issuer and life.
    pub fn new(config: &AuthConfig) -> Self {
        let secret = config.jwt_secret.expose_secret().as_bytes();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[&config.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        // Replicas' clocks differ a little; a minute, the default, would be a tenth of a token's life.
        validation.leeway = 5;
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
            issuer: config.issuer.clone(),
            ttl: config.access_ttl,
        }
    }

    /// Life of a token, in seconds.
    pub fn expires_in(&self) -> u64 {
        self.ttl.as_secs()
    }

    /// A token for a session.
    pub fn issue(&self, user: Uuid, session: Uuid, role: &str) -> ApiResult<String> {
        let now = chrono::Utc::now().timestamp();
        let claims = Claims {
            sub: user,
            sid: session,
            role: role.to_owned(),
            iat: now,
            exp: now.saturating_add_unsigned(self.ttl.as_secs()),
            iss: self.issuer.clone(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .map_err(ApiError::internal)
    }

    /// The claims of a token that we signed and that is not too old, or 401.
    pub fn verify(&self, token: &str) -> ApiResult<Claims> {
        use jsonwebtoken::errors::ErrorKind;
        jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation)
            .map(|data| data.claims)
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => {
                    ApiError::unauthenticated("the access token is too old: refresh it")
                }
                _ => ApiError::unauthenticated("the access token is not one of ours"),
            })
    }
}
