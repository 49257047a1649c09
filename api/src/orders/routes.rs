use poem::{Request, web::Data};
use poem_openapi::{
    OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};
use uuid::Uuid;
use waybill_schema::{Conn, orders::read::Filter, trail};

use super::{
    dto::{OrderDto, OrderStatus},
    find::{self, Reader},
    trail::Trail,
    wait,
    watch::{self, Orders as WatchedOrders},
};
use crate::{
    app::Tag,
    auth::{Allowed, Caller, OrdersRead, SignedIn},
    error::ApiResult,
    http::{Cached, ETag, Page, PageRequest},
    state::AppState,
    watch::Events,
};

/// An order changes by itself, and belongs to one person.
const CACHE_CONTROL: &str = "private, no-cache";

/// `/v1/orders`: one's own orders.
pub struct Orders;

#[OpenApi(prefix_path = "/v1/orders", tag = "Tag::Orders")]
impl Orders {
    /// My orders
    ///
    /// Newest first.
    #[oai(path = "/", method = "get", operation_id = "listOrders")]
    async fn list(
        &self,
        user: SignedIn,
        state: Data<&AppState>,
        /// Only those in this status.
        status: Query<Option<OrderStatus>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of a page, 1 to 100; 20 by default.
        limit: Query<Option<i64>>,
    ) -> ApiResult<Json<Page<OrderDto>>> {
        let filter =
            Filter { customer_id: Some(user.0.id), status: status.0.map(Into::into), ..Filter::default() };
        page(&state, filter, cursor.0.as_deref(), limit.0).await
    }

    /// An order
    ///
    /// For its customer, for a guest with its token in `X-Order-Token`, for administrators and keys with `orders:read`;
    /// 404 for everybody else.
    ///
    /// `?wait=` makes it a long poll: the answer comes when the order moves, or after that many seconds. With
    /// `If-None-Match` it waits for a version other than the one named, without for one other than the present; a settled
    /// order is answered at once.
    #[oai(path = "/:id", method = "get", operation_id = "getOrder")]
    async fn get(
        &self,
        caller: Caller,
        state: Data<&AppState>,
        request: &Request,
        id: Path<Uuid>,
        /// Seconds to wait for a move, 1 to 30.
        wait: Query<Option<u64>>,
        /// The token told to the guest who placed the order.
        #[oai(name = "X-Order-Token")]
        order_token: Header<Option<String>>,
    ) -> ApiResult<Cached<OrderDto>> {
        let reader = Reader::new(&caller, order_token.0.as_deref())?;
        read(&state, request, &reader, id.0, wait.0).await
    }

    /// An order's moves, as they happen
    ///
    /// Server-sent events: `event: order`, `id:` the version, `data:` the order. Begins with the order as it is, unless
    /// `Last-Event-ID` names its version; ends when the order is settled. A comment comes every 15 seconds. 503 when the
    /// process has too many open streams: poll instead.
    #[oai(path = "/:id/events", method = "get", operation_id = "streamOrder")]
    async fn events(
        &self,
        caller: Caller,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// The newest version seen; browsers send it when they connect again.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
        /// The token told to the guest who placed the order.
        #[oai(name = "X-Order-Token")]
        order_token: Header<Option<String>>,
    ) -> ApiResult<Events<WatchedOrders>> {
        let reader = Reader::new(&caller, order_token.0.as_deref())?;
        let order = {
            let conn = state.conn().await?;
            reader.order(&conn, id.0).await?
        };
        // An id that is none of ours says nothing: the stream begins at the beginning.
        let last_seen = last_event_id.0.and_then(|id| id.trim().parse().ok());
        watch::events(&state.order_hub, &order, last_seen)
    }

    /// Everything an order has caused
    ///
    /// Its moves, jobs and their attempts, events, payment calls, stock moves, mails and webhooks, in order of time.
    /// Administrators and keys with `orders:read` see every detail, buyers what concerns them.
    #[oai(path = "/:id/trail", method = "get", operation_id = "getOrderTrail")]
    async fn trail(
        &self,
        caller: Caller,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// The token told to the guest who placed the order.
        #[oai(name = "X-Order-Token")]
        order_token: Header<Option<String>>,
    ) -> ApiResult<Json<Trail>> {
        let reader = Reader::new(&caller, order_token.0.as_deref())?;
        let mut conn = state.conn().await?;
        read_trail(&mut conn, &reader, id.0).await
    }
}

/// `/v1/admin/orders`: every order.
pub struct AdminOrders;

// Each filter is a parameter of its own.
#[allow(clippy::too_many_arguments)]
#[OpenApi(prefix_path = "/v1/admin/orders", tag = "Tag::AdminOrders")]
impl AdminOrders {
    /// Every order
    ///
    /// Newest first.
    #[oai(path = "/", method = "get", operation_id = "listAllOrders")]
    async fn list(
        &self,
        _caller: Allowed<OrdersRead>,
        state: Data<&AppState>,
        /// Only those in this status.
        status: Query<Option<OrderStatus>>,
        /// Only the one of this number.
        number: Query<Option<i64>>,
        /// Only those with this reference of the buyer's.
        reference: Query<Option<String>>,
        /// Only this customer's.
        customer_id: Query<Option<Uuid>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of a page, 1 to 100; 20 by default.
        limit: Query<Option<i64>>,
    ) -> ApiResult<Json<Page<OrderDto>>> {
        let filter = Filter {
            customer_id: customer_id.0,
            status: status.0.map(Into::into),
            reference: reference.0,
            number: number.0,
            ..Filter::default()
        };
        page(&state, filter, cursor.0.as_deref(), limit.0).await
    }

    /// An order
    ///
    /// As `GET /v1/orders/{id}`, with `?wait=` and `If-None-Match`.
    #[oai(path = "/:id", method = "get", operation_id = "getAnyOrder")]
    async fn get(
        &self,
        _caller: Allowed<OrdersRead>,
        state: Data<&AppState>,
        request: &Request,
        id: Path<Uuid>,
        /// Seconds to wait for a move, 1 to 30.
        wait: Query<Option<u64>>,
    ) -> ApiResult<Cached<OrderDto>> {
        read(&state, request, &Reader::Everything, id.0, wait.0).await
    }

    /// Everything an order has caused
    ///
    /// With every detail.
    #[oai(path = "/:id/trail", method = "get", operation_id = "getAnyOrderTrail")]
    async fn trail(
        &self,
        _caller: Allowed<OrdersRead>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<Json<Trail>> {
        let mut conn = state.conn().await?;
        read_trail(&mut conn, &Reader::Everything, id.0).await
    }
}

async fn page(
    state: &AppState,
    filter: Filter,
    cursor: Option<&str>,
    limit: Option<i64>,
) -> ApiResult<Json<Page<OrderDto>>> {
    let request = PageRequest::<Uuid>::parse(cursor, limit)?;
    let filter = Filter { before: request.after, ..filter };
    let mut conn = state.conn().await?;
    let rows = find::list(&mut conn, &filter, request.fetch()).await?;
    Ok(Json(request.page(rows, |order| order.id, |order| order)))
}

async fn read(
    state: &AppState,
    request: &Request,
    reader: &Reader,
    id: Uuid,
    wait: Option<u64>,
) -> ApiResult<Cached<OrderDto>> {
    let patience = wait::parse(wait)?;
    let mut order = {
        let conn = state.conn().await?;
        reader.order(&conn, id).await?
    };
    if let Some(patience) = patience {
        let asked = request.headers().contains_key(poem::http::header::IF_NONE_MATCH);
        // A client that has another version is told of this one at once.
        if !asked || ETag::version(order.version).matches(request) {
            order = wait::moved(&state.order_hub, order, patience).await?;
        }
    }
    let etag = ETag::version(order.version);
    Ok(Cached::of_version(request, &order, etag, CACHE_CONTROL))
}

async fn read_trail(conn: &mut Conn, reader: &Reader, id: Uuid) -> ApiResult<Json<Trail>> {
    reader.check(conn, id).await?;
    let entries = trail::of(conn, id).await?;
    Ok(Json(match reader {
        Reader::Everything => Trail::whole(entries),
        Reader::Guest(_) | Reader::Customer(_) => Trail::public(entries),
    }))
}
