use chrono::{DateTime, Utc};
use poem_openapi::Object;
use uuid::Uuid;
use waybill_schema::users::ApiKeyRow;

use crate::{
    auth::Scope,
    error::{ApiResult, FieldErrors},
};

/// A key to be made.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct CreateApiKey {
    /// What it is for, 1 to 100 characters.
    pub name: String,
    /// What it may do, at least one of `catalogue:write`, `stock:write`, `imports:write`, `orders:read`, `orders:write`,
    /// `orders:agreed_price`, `webhooks:write`, `system:read`, `system:write`.
    pub scopes: Vec<String>,
}

impl CreateApiKey {
    /// Name and scopes, or every field at fault.
    pub fn parse(&self) -> ApiResult<(String, Vec<Scope>)> {
        let mut errors = FieldErrors::new();
        let name = errors.text("name", &self.name, 1, 100);
        let mut scopes = Vec::new();
        if self.scopes.is_empty() {
            errors.add("scopes", "required", "must have at least one scope");
        }
        // More than there are cannot be right, and each would be an error of its own.
        for (i, scope) in self.scopes.iter().take(50).enumerate() {
            if let Some(scope) = errors.take(&format!("scopes[{i}]"), "invalid", scope.parse::<Scope>())
                && !scopes.contains(&scope)
            {
                scopes.push(scope);
            }
        }
        errors.check()?;
        Ok((name, scopes))
    }
}

/// A key, without itself.
#[derive(Debug, Object)]
#[oai(rename = "ApiKey")]
pub struct ApiKeyDto {
    /// Id.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The key, for X-Api-Key: shown once, when it is made.
    #[oai(skip_serializing_if_is_none)]
    pub key: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl From<ApiKeyRow> for ApiKeyDto {
    fn from(row: ApiKeyRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            prefix: row.prefix,
            scopes: row.scopes,
            key: None,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
        }
    }
}
