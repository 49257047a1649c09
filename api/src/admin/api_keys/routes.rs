use poem::web::Data;
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
    payload::Json,
};
use uuid::Uuid;
use waybill_schema::users::api_keys;

use super::dto::{ApiKeyDto, CreateApiKey};
use crate::{
    app::Tag,
    auth::{Allowed, UsersWrite, secret},
    error::{ApiError, ApiResult},
    http::{Body, Created, NoContent, Page, PageRequest},
    state::AppState,
};

const PREFIX: &str = "wbk_";
/// Characters of a key that lists show: its kind and 48 of 256 bits, enough to tell keys apart and of no other use.
const SHOWN: usize = 12;

/// `/v1/admin/api-keys`.
pub struct AdminApiKeys;

#[OpenApi(prefix_path = "/v1/admin/api-keys", tag = "Tag::AdminApiKeys")]
impl AdminApiKeys {
    /// Make a key
    ///
    /// The answer is the only place where the key itself ever shows.
    #[oai(path = "/", method = "post", operation_id = "createApiKey")]
    async fn create(
        &self,
        caller: Allowed<UsersWrite>,
        state: Data<&AppState>,
        body: Body<CreateApiKey>,
    ) -> ApiResult<Created<ApiKeyDto>> {
        let admin = caller.0.require_user()?.id;
        let (name, scopes) = body.0.parse()?;
        let scopes: Vec<&str> = scopes.into_iter().map(crate::auth::Scope::as_str).collect();
        let key = secret::generate(PREFIX);
        let mut conn = state.conn().await?;
        let shown = key.get(..SHOWN).unwrap_or(PREFIX);
        let row = api_keys::insert(&mut conn, &name, shown, &secret::hash(&key), &scopes, admin).await?;
        tracing::info!(api_key = %row.id, ?scopes, %admin, "made an API key");
        let body = ApiKeyDto { key: Some(key), ..row.into() };
        Ok(Created { location: "/v1/admin/api-keys".to_owned(), body })
    }

    /// All keys
    ///
    /// The newest first, revoked ones included.
    #[oai(path = "/", method = "get", operation_id = "listApiKeys")]
    async fn list(
        &self,
        _caller: Allowed<UsersWrite>,
        state: Data<&AppState>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// 1 to 100, 20 by default.
        limit: Query<Option<i64>>,
    ) -> ApiResult<Json<Page<ApiKeyDto>>> {
        let page = PageRequest::<Uuid>::parse(cursor.0.as_deref(), limit.0)?;
        let mut conn = state.conn().await?;
        let rows = api_keys::list(&mut conn, page.after, page.fetch()).await?;
        Ok(Json(page.page(rows, |row| row.id, ApiKeyDto::from)))
    }

    /// Revoke a key
    ///
    /// It is refused from the next request on.
    #[oai(path = "/:id", method = "delete", operation_id = "revokeApiKey")]
    async fn revoke(
        &self,
        caller: Allowed<UsersWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<NoContent> {
        let mut conn = state.conn().await?;
        if !api_keys::revoke(&mut conn, id.0).await? {
            return Err(ApiError::not_found("API key"));
        }
        tracing::info!(api_key = %id.0, admin = ?caller.0.user_id(), "revoked an API key");
        Ok(NoContent)
    }
}
