use uuid::Uuid;
use waybill_jobs::status;
use waybill_schema::Conn;

use super::dto::JobDto;
use crate::{
    error::{ApiError, ApiResult},
    http::Accepted,
};

/// 202 with the job as it is now, for those who run the shop.
pub async fn accepted(conn: &mut Conn, id: Uuid) -> ApiResult<Accepted<JobDto>> {
    let job = status::find(conn, id).await?.ok_or_else(|| ApiError::not_found("job"))?;
    Ok(Accepted { location: format!("/v1/jobs/{id}"), body: JobDto::new(job, true)? })
}
