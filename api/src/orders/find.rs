//! Orders for those who may see them.

use std::collections::HashMap;

use diesel::QueryResult;
use uuid::Uuid;
use waybill_schema::{
    Conn,
    orders::{
        LineRow, OrderRow,
        read::{self, Filter},
    },
};

use super::dto::OrderDto;
use crate::{
    auth::{Caller, Scope, secret},
    error::{ApiError, ApiResult},
};

/// Which orders somebody may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reader {
    /// All: administrators and keys with `orders:read`.
    Everything,
    /// Those with the guest's token of this SHA-256.
    Guest(Vec<u8>),
    /// A customer's own.
    Customer(Uuid),
}

impl Reader {
    /// What `caller` may see, who perhaps holds the token of a guest's order. 401 for nobody in particular.
    pub fn new(caller: &Caller, order_token: Option<&str>) -> ApiResult<Self> {
        if caller.may(Scope::OrdersRead) {
            return Ok(Self::Everything);
        }
        match (order_token, caller.user_id()) {
            (Some(token), _) => Ok(Self::Guest(secret::hash(token))),
            (None, Some(user_id)) => Ok(Self::Customer(user_id)),
            (None, None) => Err(match caller {
                Caller::ApiKey(_) => ApiError::forbidden("the scope orders:read is required"),
                _ => ApiError::unauthenticated("sign in, or send the order's token in X-Order-Token"),
            }),
        }
    }

    /// The order, or 404.
    pub async fn order(&self, conn: &Conn, id: Uuid) -> ApiResult<OrderDto> {
        // Sent together; the lines are only looked at if the row is this reader's.
        let (row, lines) =
            tokio::try_join!(self.row(conn, id), read::lines(conn, std::slice::from_ref(&id)))?;
        OrderDto::new(row.ok_or_else(|| ApiError::not_found("order"))?, lines)
    }

    /// 404 unless the reader may see the order.
    pub async fn check(&self, conn: &Conn, id: Uuid) -> ApiResult<()> {
        self.row(conn, id).await?.map(drop).ok_or_else(|| ApiError::not_found("order"))
    }

    async fn row(&self, conn: &Conn, id: Uuid) -> QueryResult<Option<OrderRow>> {
        match self {
            Self::Everything => read::any(conn, id).await,
            Self::Guest(hash) => read::for_guest(conn, hash, id).await,
            Self::Customer(customer_id) => read::for_customer(conn, *customer_id, id).await,
        }
    }
}

/// The order of a row, with its lines.
pub async fn with_lines(conn: &Conn, row: OrderRow) -> ApiResult<OrderDto> {
    let lines = read::lines(conn, &[row.id]).await?;
    OrderDto::new(row, lines)
}

/// A list of orders, newest first, in two queries.
pub async fn list(conn: &mut Conn, filter: &Filter, limit: i64) -> ApiResult<Vec<OrderDto>> {
    let rows = read::list(conn, filter, limit).await?;
    all_with_lines(conn, rows).await
}

/// The orders of some ids, in no order, in two queries.
pub async fn many(conn: &mut Conn, ids: &[Uuid]) -> ApiResult<Vec<OrderDto>> {
    let rows = read::many(conn, ids).await?;
    all_with_lines(conn, rows).await
}

async fn all_with_lines(conn: &mut Conn, rows: Vec<OrderRow>) -> ApiResult<Vec<OrderDto>> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let mut lines: HashMap<Uuid, Vec<LineRow>> = HashMap::with_capacity(ids.len());
    if !ids.is_empty() {
        for line in read::lines(conn, &ids).await? {
            lines.entry(line.order_id).or_default().push(line);
        }
    }
    let with_own = |row: OrderRow| {
        let own = lines.remove(&row.id).unwrap_or_default();
        OrderDto::new(row, own)
    };
    rows.into_iter().map(with_own).collect()
}
