use uuid::Uuid;
use waybill_jobs::{emit_all, events::ProductUpdated};
use waybill_schema::{Conn, catalogue::products};

use crate::error::ApiResult;

/// Ends a change of products or their variants, in its transaction: raises their versions, keeps the range of their
/// prices, and tells everybody.
pub async fn changed(conn: &mut Conn, ids: &[Uuid]) -> ApiResult<()> {
    let touched = products::touch(conn, ids).await?;
    let events: Vec<ProductUpdated> = touched
        .into_iter()
        .map(|touched| ProductUpdated { product_id: touched.product_id, version: touched.version })
        .collect();
    emit_all(conn, &events, None).await?;
    Ok(())
}
