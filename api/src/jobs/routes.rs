use poem::web::Data;
use poem_openapi::{OpenApi, param::Path, payload::Json};
use uuid::Uuid;
use waybill_jobs::status;

use super::dto::JobDto;
use crate::{
    app::Tag,
    auth::{Caller, Scope},
    error::{ApiError, ApiResult},
    state::AppState,
};

/// `/v1/jobs`.
pub struct Jobs;

#[OpenApi(prefix_path = "/v1/jobs", tag = "Tag::Jobs")]
impl Jobs {
    /// How a job is doing
    ///
    /// For the user it works for, for administrators and keys with `system:read`; 404 for everybody else.
    #[oai(path = "/:id", method = "get", operation_id = "getJob")]
    async fn get(&self, caller: Caller, state: Data<&AppState>, id: Path<Uuid>) -> ApiResult<Json<JobDto>> {
        let everything = caller.may(Scope::SystemRead);
        let job = match caller.user_id() {
            _ if everything => status::find(&mut *state.conn().await?, id.0).await?,
            Some(user_id) => status::find_for_owner(&mut *state.conn().await?, user_id, id.0).await?,
            None => {
                caller.require(Scope::SystemRead)?;
                None
            }
        };
        let job = job.ok_or_else(|| ApiError::not_found("job"))?;
        Ok(Json(JobDto::new(job, everything)?))
    }
}
