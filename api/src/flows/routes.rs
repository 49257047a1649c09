use poem::web::Data;
use poem_openapi::{OpenApi, param::Path, payload::Json};
use uuid::Uuid;
use waybill_jobs::flows;

use super::dto::FlowDto;
use crate::{
    app::Tag,
    auth::{Caller, Scope},
    error::{ApiError, ApiResult},
    state::AppState,
};

/// `/v1/flows`.
pub struct Flows;

#[OpenApi(prefix_path = "/v1/flows", tag = "Tag::Jobs")]
impl Flows {
    /// How a batch or workflow is doing
    ///
    /// For the user it works for, for administrators and keys with `system:read`; 404 for everybody else.
    #[oai(path = "/:id", method = "get", operation_id = "getFlow")]
    async fn get(&self, caller: Caller, state: Data<&AppState>, id: Path<Uuid>) -> ApiResult<Json<FlowDto>> {
        let everything = caller.may(Scope::SystemRead);
        let mut conn = state.conn().await?;
        let flow = match caller.user_id() {
            _ if everything => flows::find(&mut conn, id.0).await?,
            Some(user_id) => flows::find_for_owner(&mut conn, user_id, id.0).await?,
            None => {
                caller.require(Scope::SystemRead)?;
                None
            }
        };
        let flow = flow.ok_or_else(|| ApiError::not_found("flow"))?;
        Ok(Json(FlowDto::load(&mut conn, flow, everything).await?))
    }
}
