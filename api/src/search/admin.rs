use diesel_async::AsyncConnection;
use poem::web::Data;
use poem_openapi::{Object, OpenApi};
use serde_json::json;
use uuid::Uuid;
use waybill_jobs::{Enqueue, Job as _, enqueue_with, kinds::ReindexProducts};
use waybill_schema::{Conn, catalogue::categories, system::actions};

use crate::{
    app::Tag,
    auth::{Allowed, SystemWrite},
    error::{ApiError, ApiResult},
    http::{Accepted, Body},
    jobs::{accepted, dto::JobDto},
    state::AppState,
};

/// Which products are to be indexed anew.
#[derive(Debug, Object)]
#[oai(rename = "NewReindex", deny_unknown_fields)]
pub struct NewReindex {
    /// Only those of this category and of what is below it; all otherwise.
    pub category_id: Option<Uuid>,
}

/// `/v1/admin/search`.
pub struct AdminSearch;

#[OpenApi(prefix_path = "/v1/admin/search", tag = "Tag::AdminSystem")]
impl AdminSearch {
    /// Write the search index anew
    ///
    /// From the products as they are, by a job whose progress counts them. Search goes on meanwhile, and nothing leaves the
    /// index. One for everything that waits already is answered with instead of another. A category that is renamed, or moved, does this for
    /// its own products.
    #[oai(path = "/reindex", method = "post", operation_id = "reindexProducts")]
    async fn reindex(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        body: Body<NewReindex>,
    ) -> ApiResult<Accepted<JobDto>> {
        let job = ReindexProducts { category_id: body.0.category_id };
        let options = Enqueue { owner_id: caller.0.user_id(), ..Enqueue::default() };
        let actor = caller.0.actor();
        let mut conn = state.conn().await?;
        let id = (*conn)
            .transaction(async |conn: &mut Conn| {
                if let Some(category_id) = job.category_id
                    && categories::by_id(conn, category_id).await?.is_none()
                {
                    return Err(ApiError::field("category_id", "not_found", "there is no such category"));
                }
                let id = enqueue_with(conn, &job, options).await?;
                let target = job.category_id.map_or_else(|| "all".to_owned(), |id| id.to_string());
                actions::record(conn, &actor, "search.reindex", &target, &json!({ "job_id": id })).await?;
                Ok(id)
            })
            .await?;
        state.notifier.hint(ReindexProducts::QUEUE);
        accepted(&mut conn, id).await
    }
}
