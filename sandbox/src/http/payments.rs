//! The endpoints that move money.

use std::sync::Arc;
use std::time::Duration;

use poem::web::{Data, Path};
use poem::{Body, Request, Response, handler};

use crate::gateway::Step;
use crate::http::request::{self, AuthorizeBody, EmptyBody, MoneyBody};
use crate::http::{App, response};
use crate::metrics::Seen;
use crate::model::{Command, Operation};
use crate::refusal::Refusal;

#[handler]
pub(crate) async fn authorize(app: Data<&Arc<App>>, request: &Request, body: Body) -> poem::Result<Response> {
    let bytes = request::read(body).await?;
    let command = || {
        let body: AuthorizeBody<'_> = request::json(&bytes)?;
        Ok(Command::Authorize {
            money: request::money(&body.amount, &body.currency)?,
            token: body.token.parse().map_err(|_| Refusal::UnknownToken)?,
            reference: request::reference(&body.reference)?,
        })
    };
    perform(&app, request, Operation::Authorize, command()).await
}

#[handler]
pub(crate) async fn capture(
    app: Data<&Arc<App>>,
    request: &Request,
    id: Path<String>,
    body: Body,
) -> poem::Result<Response> {
    let bytes = request::read(body).await?;
    let command = || {
        let body: MoneyBody<'_> = request::json(&bytes)?;
        let authorization = id.parse().map_err(|_| Refusal::NotFound("authorization"))?;
        Ok(Command::Capture { authorization, money: body.money()? })
    };
    perform(&app, request, Operation::Capture, command()).await
}

#[handler]
pub(crate) async fn void(
    app: Data<&Arc<App>>,
    request: &Request,
    id: Path<String>,
    body: Body,
) -> poem::Result<Response> {
    let bytes = request::read(body).await?;
    let command = || {
        if !bytes.is_empty() {
            request::json::<EmptyBody>(&bytes)?;
        }
        let authorization = id.parse().map_err(|_| Refusal::NotFound("authorization"))?;
        Ok(Command::Void { authorization })
    };
    perform(&app, request, Operation::Void, command()).await
}

#[handler]
pub(crate) async fn refund(
    app: Data<&Arc<App>>,
    request: &Request,
    id: Path<String>,
    body: Body,
) -> poem::Result<Response> {
    let bytes = request::read(body).await?;
    let command = || {
        let body: MoneyBody<'_> = request::json(&bytes)?;
        let taken = id.parse().map_err(|_| Refusal::NotFound("capture"))?;
        Ok(Command::Refund { capture: taken, money: body.money()? })
    };
    perform(&app, request, Operation::Refund, command()).await
}

async fn perform(
    app: &Arc<App>,
    request: &Request,
    operation: Operation,
    command: Result<Command, Refusal>,
) -> poem::Result<Response> {
    let parsed = request::idempotency_key(request).and_then(|key| Ok((key, command?)));
    let (key, command) = parsed.inspect_err(|_| app.gateway.metrics.count(operation, Seen::Invalid))?;
    match app.gateway.submit(&key, command)? {
        Step::Answer(answer) => {
            app.gateway.written(answer.position).await?;
            Ok(response::of_answer(&answer))
        }
        Step::Late { answer, delay, hold } => {
            app.gateway.written(answer.position).await?;
            pause(app, request, delay).await;
            drop(hold);
            Ok(response::of_answer(&answer))
        }
        Step::Lose { position, delay } => {
            app.gateway.written(position).await?;
            pause(app, request, delay).await;
            app.connections.cut(request.remote_addr());
            // Has nowhere to go.
            Err(Refusal::Internal.into())
        }
        Step::Hang { delay, hold } => {
            pause(app, request, delay).await;
            drop(hold);
            Err(Refusal::TimedOut.into())
        }
    }
}

/// Waits for `delay`, or until the client goes, or the server is to stop.
async fn pause(app: &App, request: &Request, delay: Duration) {
    let gone = app.connections.gone(request.remote_addr());
    tokio::select! {
        () = gone.cancelled() => {}
        () = tokio::time::sleep(delay) => {}
        () = app.stopping.cancelled() => {}
    }
}
