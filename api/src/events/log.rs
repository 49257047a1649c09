//! The log of events: reading it, and having it published again.

use chrono::{DateTime, Utc};
use diesel_async::AsyncConnection as _;
use poem::web::Data;
use poem_openapi::{Enum, Object, OpenApi, param::Query, payload::Json, types::Any};
use serde_json::{Value, json};
use uuid::Uuid;
use waybill_jobs::{
    Enqueue, Job as _, enqueue_with,
    events_lane::log::{self, Filter, Logged, Place},
    kinds::RepublishEvents,
};
use waybill_schema::{Conn, system::actions};

use crate::{
    app::Tag,
    auth::{Allowed, SystemRead, SystemWrite},
    error::{ApiError, ApiResult, FieldErrors},
    http::{Accepted, Body, Cursor, PageRequest},
    jobs::{accepted, dto::JobDto},
    state::AppState,
};

/// How an event was handed on.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename = "EventLane", rename_all = "lowercase")]
pub enum LaneDto {
    /// Published to the broker: whoever had bound a queue has it.
    Amqp,
    /// Over Postgres, without a broker: to the pipelines only.
    Postgres,
}

impl LaneDto {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Amqp => "amqp",
            Self::Postgres => "postgres",
        }
    }
}

/// An event that was handed on.
#[derive(Debug, Object)]
#[oai(rename = "LoggedEvent")]
pub struct LoggedEvent {
    /// As consumers get it: `id`, `topic`, `version`, `aggregate`, `aggregate_id`, `created_at`, `correlation_id`,
    /// `causation_id`, `traceparent`, `payload`.
    pub event: Any<Value>,
    /// When it was handed on.
    pub published_at: DateTime<Utc>,
    /// How: `amqp` or `postgres`.
    pub lane: String,
    /// The pipelines that it was handed to.
    pub pipelines: Vec<String>,
}

impl From<Logged> for LoggedEvent {
    fn from(logged: Logged) -> Self {
        let Logged { published_at, lane, pipelines, envelope, .. } = logged;
        Self { event: Any(envelope), published_at, lane, pipelines }
    }
}

/// A page of the log.
#[derive(Debug, Object)]
pub struct EventPage {
    /// In the order in which they were handed on. May be empty although there is more: a page looks at no more than 10,000
    /// events.
    pub data: Vec<LoggedEvent>,
    /// Where the next page starts, now or later; null only if there was nothing yet.
    pub next_cursor: Option<String>,
    /// Whether there is more already.
    pub more: bool,
}

/// Which events to publish again.
#[derive(Debug, Object)]
#[oai(rename = "NewRepublish", deny_unknown_fields)]
pub struct NewRepublish {
    /// Of these topics only; of all by default.
    #[oai(validator(min_items = 1, max_items = 100))]
    pub topics: Option<Vec<String>>,
    /// Created from this on. What is older than the retention keeps is gone.
    pub since: DateTime<Utc>,
    /// Created before this; now by default.
    pub until: Option<DateTime<Utc>>,
    /// Those too that the broker has carried before; by default only those that went over Postgres.
    #[oai(default)]
    pub all: bool,
}

impl NewRepublish {
    fn parse(self) -> ApiResult<RepublishEvents> {
        let until = self.until.unwrap_or_else(Utc::now);
        let mut wrong = FieldErrors::new();
        if self.since >= until {
            wrong.add("since", "range", "must be before `until`, which is now by default");
        }
        wrong.check()?;
        Ok(RepublishEvents {
            topics: self.topics.unwrap_or_default(),
            since: self.since,
            until,
            all: self.all,
        })
    }
}

/// `/v1/admin/events`.
pub struct EventLog;

#[OpenApi(prefix_path = "/v1/admin/events", tag = "Tag::AdminSystem")]
impl EventLog {
    /// Events of the past
    ///
    /// In the order in which they were handed on, in which the events of an aggregate have their own. An event is listed ten
    /// seconds after that, so that a reader that goes on from its `next_cursor` misses none. For consumers that were cut off:
    /// with `lane=postgres`, what no queue at the broker has got.
    #[oai(path = "/", method = "get", operation_id = "listEvents")]
    #[allow(clippy::too_many_arguments, reason = "the parameters of the query")]
    async fn list(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
        /// Only this topic.
        topic: Query<Option<String>>,
        /// Created from this on.
        since: Query<Option<DateTime<Utc>>>,
        /// About this aggregate: an order, a product, ...
        aggregate: Query<Option<Uuid>>,
        /// That went this way.
        lane: Query<Option<LaneDto>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Events wanted, 1 to 100.
        limit: Query<Option<i64>>,
    ) -> ApiResult<Json<EventPage>> {
        let request = PageRequest::<Place>::parse(cursor.0.as_deref(), limit.0)?;
        let filter = Filter {
            topics: topic.0.into_iter().collect(),
            aggregate_id: aggregate.0,
            lane: lane.0.map(|lane| lane.as_str().to_owned()),
            since: since.0,
        };
        let page = log::page(&mut *state.conn().await?, &filter, request.after, request.limit).await?;
        Ok(Json(EventPage {
            data: page.events.into_iter().map(LoggedEvent::from).collect(),
            next_cursor: page.reached.map(|place| Cursor::encode(&place)),
            more: page.more,
        }))
    }

    /// Publish events of the past again
    ///
    /// To the broker's exchange, for consumers with queues of their own: by default those events that went over Postgres
    /// while there was no broker. They keep their ids, by which a consumer knows what it has had. Waybill's own pipelines leave
    /// them alone. A job does it, in steps; its progress counts them.
    #[oai(path = "/republish", method = "post", operation_id = "republishEvents")]
    async fn republish(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        body: Body<NewRepublish>,
    ) -> ApiResult<Accepted<JobDto>> {
        let job = body.0.parse()?;
        let options = Enqueue { owner_id: caller.0.user_id(), ..Enqueue::default() };
        let mut conn = state.conn().await?;
        let actor = caller.0.actor();
        let id = (*conn)
            .transaction(async |conn: &mut Conn| {
                let id = enqueue_with(conn, &job, options).await?;
                let detail = json!({
                    "job_id": id, "topics": job.topics, "since": job.since, "until": job.until, "all": job.all,
                });
                actions::record(conn, &actor, "events.republish", "broker", &detail).await?;
                Ok::<_, ApiError>(id)
            })
            .await?;
        state.notifier.hint(RepublishEvents::QUEUE);
        tracing::info!(job_id = %id, since = %job.since, until = %job.until, "events are to be published again");
        accepted(&mut conn, id).await
    }
}
