use diesel_async::AsyncConnection;
use poem::web::Data;
use poem_openapi::{OpenApi, param::Path, payload::Json};
use serde_json::json;
use uuid::Uuid;
use waybill_jobs::erase::erase;
use waybill_schema::{Conn, orders::read, system::actions, users::accounts};

use super::dto::{EraseBody, Erased};
use crate::{
    app::Tag,
    auth::{Allowed, UsersWrite},
    error::{ApiError, ApiResult},
    http::Body,
    state::AppState,
};

/// `/v1/admin/people`.
pub struct AdminPeople;

#[OpenApi(prefix_path = "/v1/admin/people", tag = "Tag::AdminSystem")]
impl AdminPeople {
    /// Erase what jobs know of a person
    ///
    /// A customer by their id, a guest by the id of their order. Empties arguments, progress, results, errors and log lines of
    /// their finished jobs and dead letters, the recipients of their mails, their reference in published events and the bodies
    /// of deliveries that held it. The account, the orders and the payments stay: what the law wants kept is for somebody else
    /// to decide.
    #[oai(path = "/:id/erase", method = "post", operation_id = "erasePerson")]
    async fn erase(
        &self,
        caller: Allowed<UsersWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
        body: Body<EraseBody>,
    ) -> ApiResult<Json<Erased>> {
        let (id, live) = (id.0, body.0.live.unwrap_or_default());
        let mut conn = state.conn().await?;
        let actor = caller.0.actor();
        let counts = (*conn)
            .transaction(async |conn: &mut Conn| {
                // A slip of the pen must not look as if it had worked.
                let guest = read::any(conn, id).await?.is_some_and(|order| order.customer_id.is_none());
                if !guest && accounts::by_id(conn, id).await?.is_none() {
                    return Err(ApiError::not_found("person"));
                }
                let counts = erase(conn, id, live.into()).await?;
                let detail = json!({ "live": live.as_str(), "counts": counts });
                actions::record(conn, &actor, "person.erase", &id.to_string(), &detail).await?;
                Ok(counts)
            })
            .await?;
        Ok(Json(Erased::new(id, counts)))
    }
}
