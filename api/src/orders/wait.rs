//! Long poll: an answer when the order has moved, or when the client's patience ends.

use std::time::Duration;

use super::{dto::OrderDto, watch::OrderHub};
use crate::error::{ApiError, ApiResult};

/// Seconds a client may wait at most; proxies close quiet requests after 60.
const LONGEST: u64 = 30;

/// Parses `?wait=`.
pub fn parse(seconds: Option<u64>) -> ApiResult<Option<Duration>> {
    match seconds {
        None | Some(0) => Ok(None),
        Some(seconds) if seconds <= LONGEST => Ok(Some(Duration::from_secs(seconds))),
        Some(_) => Err(ApiError::field("wait", "invalid", format!("must be at most {LONGEST} seconds"))),
    }
}

/// The order after its next move; as it is when it does not move in time, or never will.
pub async fn moved(hub: &OrderHub, order: OrderDto, patience: Duration) -> ApiResult<OrderDto> {
    if order.is_settled() {
        return Ok(order);
    }
    let mut watcher = hub.watch(order.id, Some(order.version))?;
    match tokio::time::timeout(patience, watcher.moved()).await {
        Ok(Some(snapshot)) => Ok(snapshot.order.clone()),
        Ok(None) | Err(_) => Ok(order),
    }
}
