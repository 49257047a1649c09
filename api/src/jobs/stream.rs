//! A job's moves as server-sent events.

use std::{io, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use poem::{Body, IntoResponse, Response, http::StatusCode, http::header};
use poem_openapi::{
    ApiResponse,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
    types::{ToJSON, Type},
};
use waybill_jobs::status::JobView;

use super::{
    dto::JobDto,
    follow::{Follower, JobHub, is_settled},
};
use crate::{error::ApiResult, orders::frame};

/// Shorter than what proxies wait for at least (30 s and more).
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The id of the last event of a stream: a client that sends it back has seen the end.
const OVER: &str = "over";

/// The stream of one job, or 204 when there is nothing to come: an `EventSource` then stops asking.
pub enum JobEvents {
    /// 200 `text/event-stream`.
    Open(Opened),
    /// 204.
    Over,
}

/// A stream about to be sent.
pub struct Opened {
    first: Bytes,
    follower: Option<Follower>,
    with_internals: bool,
}

impl JobEvents {
    /// Starts with the job as it is, goes on with every move, and ends with the one that settles it. A move
    /// between the two is seen by the first look of the follower, which reports what it finds.
    pub fn open(
        hub: &JobHub,
        job: JobView,
        last_seen: Option<&str>,
        with_internals: bool,
    ) -> ApiResult<Self> {
        let settled = is_settled(&job);
        if settled && last_seen == Some(OVER) {
            return Ok(Self::Over);
        }
        let follower = if settled { None } else { Some(hub.follow(job.id)?) };
        Ok(Self::Open(Opened { first: event(job, with_internals)?, follower, with_internals }))
    }
}

fn event(job: JobView, with_internals: bool) -> ApiResult<Bytes> {
    let id = if is_settled(&job) { OVER } else { "live" };
    let dto = JobDto::new(job, with_internals)?;
    Ok(format!("id: {id}\nevent: job\ndata: {}\n\n", dto.to_json_string()).into())
}

impl Opened {
    fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let with_internals = self.with_internals;
        let moves = stream::unfold(self.follower, move |follower| async move {
            let mut follower = follower?;
            match tokio::time::timeout(KEEP_ALIVE, follower.moved()).await {
                Ok(moved) => {
                    let job = moved?;
                    let next = (!is_settled(&job)).then_some(follower);
                    Some((event((*job).clone(), with_internals).ok()?, next))
                }
                Err(_) => Some((frame::KEEP_ALIVE, Some(follower))),
            }
        });
        stream::iter([frame::RETRY, self.first]).chain(moves).map(Ok)
    }
}

impl IntoResponse for JobEvents {
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

impl ApiResponse for JobEvents {
    fn meta() -> MetaResponses {
        let events = MetaSchemaRef::Inline(Box::new(MetaSchema {
            items: Some(Box::new(JobDto::schema_ref())),
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
                response("Events `job`: `data` is the job", 200, vec![stream]),
                response("The job is over, and you have seen how", 204, vec![]),
            ],
        }
    }

    fn register(registry: &mut Registry) {
        JobDto::register(registry);
    }
}
