//! Moves as server-sent events.

use std::{io, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use poem::{Body, IntoResponse, Response, http::StatusCode, http::header};
use poem_openapi::{
    ApiResponse,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};

use super::{Frame, Watched, Watcher};

/// Shorter than what proxies wait for at least (30 s and more).
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(15);
/// A comment that keeps proxies from closing a quiet connection.
const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");
/// How long a client waits before it connects again, in milliseconds.
const RETRY: Bytes = Bytes::from_static(b"retry: 1000\n\n");

/// The stream of one thing, or 204 when there is nothing to come: an `EventSource` then stops asking.
pub enum Events<W: Watched> {
    /// 200 `text/event-stream`.
    Open(Opened<W>),
    /// 204.
    Over,
}

/// A stream about to be sent.
pub struct Opened<W: Watched> {
    /// The thing as it is, unless the client has seen that.
    pub first: Option<Bytes>,
    /// Its moves; none of what is settled.
    pub watcher: Option<Watcher<W>>,
    /// How each is written.
    pub frame: Frame<W>,
}

impl<W: Watched> Opened<W> {
    fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let begin = [Some(RETRY), self.first].into_iter().flatten();
        let frame = self.frame;
        let moves = stream::unfold(self.watcher.map(|watcher| (watcher, frame)), |state| async {
            let (mut watcher, mut frame) = state?;
            match tokio::time::timeout(KEEP_ALIVE_AFTER, watcher.moved()).await {
                Ok(moved) => {
                    let view = moved?;
                    let settled = W::is_settled(&view);
                    let event = frame(view).await?;
                    Some((event, (!settled).then_some((watcher, frame))))
                }
                Err(_) => Some((KEEP_ALIVE, Some((watcher, frame)))),
            }
        });
        stream::iter(begin).chain(moves).map(Ok)
    }
}

impl<W: Watched> IntoResponse for Events<W> {
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

impl<W: Watched> ApiResponse for Events<W> {
    fn meta() -> MetaResponses {
        let events = MetaSchemaRef::Inline(Box::new(MetaSchema {
            items: Some(Box::new(W::Dto::schema_ref())),
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
            responses: vec![response(W::EVENTS, 200, vec![stream]), response(W::OVER, 204, vec![])],
        }
    }

    fn register(registry: &mut Registry) {
        W::Dto::register(registry);
    }
}
