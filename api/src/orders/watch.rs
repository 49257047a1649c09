//! Orders as they are watched.

use std::{collections::HashMap, future::ready, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use poem_openapi::types::ToJSON;
use uuid::Uuid;
use waybill_schema::{Conn, orders::read};

use super::{dto::OrderDto, find};
use crate::{
    error::ApiResult,
    watch::{Events, Hub, Opened, Watched},
};

/// Watches orders by their versions.
pub struct Orders;

/// The hub of one process.
pub type OrderHub = Hub<Orders>;

/// A watched order as it is after a move, rendered once for all its watchers.
#[derive(Debug)]
pub struct Snapshot {
    /// The order.
    pub order: OrderDto,
    /// Its server-sent event.
    pub frame: Bytes,
}

impl Snapshot {
    /// Renders an order.
    pub fn new(order: OrderDto) -> Self {
        let frame = frame(&order);
        Self { order, frame }
    }
}

/// `event: order` with the version as its id. JSON has no line breaks, so it is one line of data.
fn frame(order: &OrderDto) -> Bytes {
    format!("id: {}\nevent: order\ndata: {}\n\n", order.version, order.to_json_string()).into()
}

impl Watched for Orders {
    type View = Snapshot;
    type Dto = OrderDto;

    const THINGS: &'static str = "orders";
    const GAUGE: &'static str = "waybill_order_watchers";
    // Each holds a few kilobytes and a socket.
    const MAX_WATCHERS: usize = 20_000;
    // An order takes some 15 ms from acceptance to confirmation, so a longer pause would be most of what a shop waits; a look
    // at 64 watched orders costs Postgres a tenth of a millisecond.
    const TICK: Duration = Duration::from_millis(25);
    const LONGEST_TICK: Duration = Duration::from_secs(1);
    const EVENTS: &'static str = "Events `order`: `id` is the version, `data` the order";
    const OVER: &'static str = "The order is settled, and you have seen how";

    async fn marks(conn: &mut Conn, ids: &[Uuid]) -> ApiResult<HashMap<Uuid, i64>> {
        let rows = read::versions(conn, ids).await?;
        Ok(rows.into_iter().map(|row| (row.id, row.version)).collect())
    }

    async fn load(conn: &mut Conn, ids: &[Uuid]) -> ApiResult<Vec<Snapshot>> {
        Ok(find::many(conn, ids).await?.into_iter().map(Snapshot::new).collect())
    }

    fn id(snapshot: &Snapshot) -> Uuid {
        snapshot.order.id
    }

    fn mark(snapshot: &Snapshot, _read: Option<i64>) -> i64 {
        snapshot.order.version
    }

    fn has_moved(known: Option<i64>, now: Option<i64>, _told: Option<&Snapshot>) -> bool {
        now.is_some() && now > known
    }

    fn is_news(snapshot: &Snapshot, seen: Option<i64>) -> bool {
        Some(snapshot.order.version) > seen
    }

    fn is_settled(snapshot: &Snapshot) -> bool {
        snapshot.order.is_settled()
    }
}

/// Starts with the order as it is (unless the client has seen that), goes on with every move, and ends with the one that
/// settles it.
pub fn events(hub: &OrderHub, order: &OrderDto, last_seen: Option<i64>) -> ApiResult<Events<Orders>> {
    let seen = last_seen.is_some_and(|seen| seen >= order.version);
    let settled = order.is_settled();
    if seen && settled {
        return Ok(Events::Over);
    }
    let watcher = if settled { None } else { Some(hub.watch(order.id, Some(order.version))?) };
    let first = (!seen).then(|| frame(order));
    let frame = |snapshot: Arc<Snapshot>| -> BoxFuture<'static, Option<Bytes>> {
        Box::pin(ready(Some(snapshot.frame.clone())))
    };
    Ok(Events::Open(Opened { first, watcher, frame: Box::new(frame) }))
}
