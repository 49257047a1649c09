//! The endpoints that only look.

use std::sync::Arc;

use http::StatusCode;
use poem::web::{Data, Path};
use poem::{Request, Response, handler};
use serde::Deserialize;

use crate::gateway::MAX_PAGE;
use crate::http::{App, request, response};
use crate::refusal::{Refusal, raw};

/// Entries per page unless told otherwise.
const DEFAULT_PAGE: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerQuery {
    /// The `next_cursor` of the page before, or the `seq` of the last entry seen.
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

#[handler]
pub(crate) fn authorization(app: Data<&Arc<App>>, id: Path<String>) -> poem::Result<Response> {
    let id = id.parse().map_err(|_| Refusal::NotFound("authorization"))?;
    let body = app.gateway.authorization(id, raw)?;
    Ok(response::json(StatusCode::OK, &body))
}

#[handler]
pub(crate) async fn operation(app: Data<&Arc<App>>, key: Path<String>) -> poem::Result<Response> {
    let operation = app.gateway.operation(&key)?;
    app.gateway.written(operation.position).await?;
    Ok(response::json(StatusCode::OK, &operation))
}

#[handler]
pub(crate) fn ledger(app: Data<&Arc<App>>, request: &Request) -> poem::Result<Response> {
    let LedgerQuery { after, limit } = request::query(request)?;
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Refusal::invalid("limit", format!("must be 1 to {MAX_PAGE}")).into());
    }
    Ok(response::json(StatusCode::OK, &app.gateway.ledger_page(after, limit)))
}

#[handler]
pub(crate) fn summary(app: Data<&Arc<App>>) -> Response {
    response::json(StatusCode::OK, &app.gateway.summary())
}
