//! An order's moves as server-sent events.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use poem::{Body, IntoResponse, Response, http::StatusCode, http::header};
use poem_openapi::{
    ApiResponse,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};

use super::{
    dto::OrderDto,
    frame,
    hub::{OrderHub, Snapshot, Watcher},
};
use crate::error::ApiResult;

/// Shorter than what proxies wait for at least (30 s and more).
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The stream of one order, or 204 when there is nothing to come: an `EventSource` then stops asking.
pub enum OrderEvents {
    /// 200 `text/event-stream`.
    Open(Opened),
    /// 204.
    Over,
}

/// A stream about to be sent.
pub struct Opened {
    first: Option<Bytes>,
    watcher: Option<Watcher>,
}

impl OrderEvents {
    /// Starts with the order as it is (unless the client has seen that), goes on with every move, and ends with the one
    /// that settles it.
    pub fn open(hub: &OrderHub, order: OrderDto, last_seen: Option<i64>) -> ApiResult<Self> {
        let seen = last_seen.is_some_and(|seen| seen >= order.version);
        let settled = order.is_settled();
        if seen && settled {
            return Ok(Self::Over);
        }
        let watcher = if settled { None } else { Some(hub.watch(order.id, order.version)?) };
        let first = (!seen).then(|| frame::order(&order));
        Ok(Self::Open(Opened { first, watcher }))
    }
}

impl Opened {
    fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let begin = match self.first {
            Some(first) => vec![frame::RETRY, first],
            None => vec![frame::RETRY],
        };
        let moves = stream::unfold(self.watcher, |watcher| async {
            let mut watcher = watcher?;
            match tokio::time::timeout(KEEP_ALIVE, watcher.moved()).await {
                Ok(moved) => {
                    let moved: Arc<Snapshot> = moved?;
                    let next = (!moved.order.is_settled()).then_some(watcher);
                    Some((moved.frame.clone(), next))
                }
                Err(_) => Some((frame::KEEP_ALIVE, Some(watcher))),
            }
        });
        stream::iter(begin).chain(moves).map(Ok)
    }
}

impl IntoResponse for OrderEvents {
    fn into_response(self) -> Response {
        match self {
            Self::Over => StatusCode::NO_CONTENT.into_response(),
            Self::Open(opened) => Response::builder()
                .content_type("text/event-stream")
                .header(header::CACHE_CONTROL, "no-store")
                // nginx would collect events otherwise.
                .header("X-Accel-Buffering", "no")
                .body(Body::from_bytes_stream(opened.into_stream())),
        }
    }
}

impl ApiResponse for OrderEvents {
    fn meta() -> MetaResponses {
        let events = MetaSchemaRef::Inline(Box::new(MetaSchema {
            items: Some(Box::new(OrderDto::schema_ref())),
            ..MetaSchema::new("array")
        }));
        let response = |description, status, content| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content,
            headers: vec![],
        };
        let stream = MetaMediaType { content_type: "text/event-stream", schema: events };
        MetaResponses {
            responses: vec![
                response("Events `order`: `id` is the version, `data` the order", 200, vec![stream]),
                response("The order is settled, and you have seen how", 204, vec![]),
            ],
        }
    }

    fn register(registry: &mut Registry) {
        OrderDto::register(registry);
    }
}
