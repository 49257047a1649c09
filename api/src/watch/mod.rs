//! Watching things that move by themselves, orders and jobs, and telling their moves as server-sent events.

mod hub;
mod stream;

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use poem_openapi::types::Type;
use uuid::Uuid;
use waybill_schema::Conn;

pub use self::{
    hub::{Hub, Watcher},
    stream::{Events, Opened},
};
use crate::error::ApiResult;

/// What a hub watches.
pub trait Watched: Sized + 'static {
    /// One as its watchers are told of it.
    type View: Send + Sync + 'static;
    /// The data of its events, for the API document.
    type Dto: Type;

    /// What they are, many of them, for people.
    const THINGS: &'static str;
    /// The gauge of how many watch.
    const GAUGE: &'static str;
    /// Watchers of one process at most.
    const MAX_WATCHERS: usize;
    /// Pause between two looks.
    const TICK: Duration;
    /// The pause grows to this when looking takes long, or fails.
    const LONGEST_TICK: Duration;
    /// What the events of a stream are, for the API document.
    const EVENTS: &'static str;
    /// What it means that there is none, for the API document.
    const OVER: &'static str;

    /// A number for each of `ids` that still moves; another one once it has moved.
    fn marks(conn: &mut Conn, ids: &[Uuid]) -> impl Future<Output = ApiResult<HashMap<Uuid, i64>>> + Send;

    /// Those of `ids` that there are, as they are now.
    fn load(conn: &mut Conn, ids: &[Uuid]) -> impl Future<Output = ApiResult<Vec<Self::View>>> + Send;

    /// Which one a view is of.
    fn id(view: &Self::View) -> Uuid;

    /// The mark to remember with a view that was loaded after its mark was read.
    fn mark(view: &Self::View, read: Option<i64>) -> i64;

    /// Whether one has moved since the mark `known`; `now` is its present mark, `told` what its watchers were told last.
    fn has_moved(known: Option<i64>, now: Option<i64>, told: Option<&Self::View>) -> bool;

    /// Whether a view is news for a watcher who has seen the mark `seen`.
    fn is_news(view: &Self::View, seen: Option<i64>) -> bool;

    /// Whether nothing more will happen to it, short of an operator.
    fn is_settled(view: &Self::View) -> bool;
}

/// How a stream writes a view: whole events, perhaps none (empty); nothing where the view cannot be told, which ends the stream so
/// that its client connects again. May read what belongs to the view and only its reader lacks.
pub type Frame<W> = Box<dyn FnMut(Arc<<W as Watched>::View>) -> BoxFuture<'static, Option<Bytes>> + Send>;
