use poem::web::Data;
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
    payload::Json,
};
use rand::RngCore;
use uuid::Uuid;
use waybill_platform::signature::SigningKey;
use waybill_schema::{
    new_id,
    webhooks::{
        endpoints::{self, Change},
        secret_purpose,
    },
};

use super::{
    check, deliver,
    dto::{ChangeEndpoint, DeliveryDto, DeliveryStarted, EndpointDto, NewEndpoint},
};
use crate::{
    app::Tag,
    auth::{Allowed, WebhooksWrite},
    error::{ApiError, ApiResult, FieldErrors},
    http::{Accepted, Body, Created, NoContent, Page, PageRequest},
    state::AppState,
};

/// Random bytes of a signing key; Standard Webhooks wants 24 to 64.
const SECRET_BYTES: usize = 32;

/// `/v1/admin/webhook-endpoints` and `/v1/admin/webhook-deliveries`.
pub struct Webhooks;

#[OpenApi(prefix_path = "/v1/admin", tag = "Tag::AdminWebhooks")]
impl Webhooks {
    /// Register an endpoint
    ///
    /// Events are posted to it as `{"type", "timestamp", "data", "id", "version"}`, signed as Standard Webhooks has it, at
    /// least once, with the same `webhook-id` every time; the callbacks have a schema of each. The signing secret is told once, here.
    #[oai(path = "/webhook-endpoints", method = "post", operation_id = "createWebhookEndpoint")]
    async fn create(
        &self,
        caller: Allowed<WebhooksWrite>,
        state: Data<&AppState>,
        body: Body<NewEndpoint>,
    ) -> ApiResult<Created<EndpointDto>> {
        let mut errors = FieldErrors::new();
        let url = check::url(&body.0.url, &state.config.webhooks, &mut errors);
        let topics = check::topics(body.0.event_types.unwrap_or_default(), &mut errors);
        let description = errors.optional_text("description", body.0.description.as_deref(), 500);
        errors.check()?;

        let id = new_id();
        let secret = new_secret();
        let sealed = state.vault.seal(secret.as_bytes(), &secret_purpose(id)).map_err(ApiError::internal)?;
        let mut conn = state.conn().await?;
        let row = endpoints::create(
            &mut conn,
            id,
            &url,
            description.as_deref().unwrap_or_default(),
            &topics,
            &sealed,
            caller.0.user_id(),
        )
        .await?;
        let body = EndpointDto { secret: Some(secret), ..row.into() };
        Ok(Created { location: format!("/v1/admin/webhook-endpoints/{id}"), body })
    }

    /// Endpoints
    ///
    /// Newest first.
    #[oai(path = "/webhook-endpoints", method = "get", operation_id = "listWebhookEndpoints")]
    async fn list(
        &self,
        _caller: Allowed<WebhooksWrite>,
        state: Data<&AppState>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of a page, 1 to 100; 20 by default.
        limit: Query<Option<i64>>,
    ) -> ApiResult<Json<Page<EndpointDto>>> {
        let page = PageRequest::<Uuid>::parse(cursor.0.as_deref(), limit.0)?;
        let mut conn = state.conn().await?;
        let rows = endpoints::list(&mut conn, page.after, page.fetch()).await?;
        Ok(Json(page.page(rows, |row| row.id, EndpointDto::from)))
    }

    /// An endpoint
    #[oai(path = "/webhook-endpoints/:id", method = "get", operation_id = "getWebhookEndpoint")]
    async fn get(
        &self,
        _caller: Allowed<WebhooksWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<Json<EndpointDto>> {
        let mut conn = state.conn().await?;
        let row = endpoints::find(&mut conn, id.0).await?;
        row.map(|row| Json(row.into())).ok_or_else(unknown)
    }

    /// Change an endpoint
    ///
    /// What is left out stays as it is. One that was deactivated gets no events of the time between. One that was disabled,
    /// because every attempt failed for days or it answered 410, is enabled by `active: true`.
    #[oai(path = "/webhook-endpoints/:id", method = "patch", operation_id = "updateWebhookEndpoint")]
    async fn update(
        &self,
        _caller: Allowed<WebhooksWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
        body: Body<ChangeEndpoint>,
    ) -> ApiResult<Json<EndpointDto>> {
        let Body(wanted) = body;
        let mut errors = FieldErrors::new();
        let change = Change {
            url: wanted.url.map(|url| check::url(&url, &state.config.webhooks, &mut errors)),
            event_types: wanted.event_types.map(|topics| check::topics(topics, &mut errors)),
            description: wanted.description.map(|text| errors.text("description", &text, 0, 500)),
            active: wanted.active,
        };
        errors.check()?;
        let mut conn = state.conn().await?;
        let row = endpoints::update(&mut conn, id.0, &change).await?;
        row.map(|row| Json(row.into())).ok_or_else(unknown)
    }

    /// Remove an endpoint
    ///
    /// With the log of its deliveries.
    #[oai(path = "/webhook-endpoints/:id", method = "delete", operation_id = "deleteWebhookEndpoint")]
    async fn delete(
        &self,
        _caller: Allowed<WebhooksWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<NoContent> {
        let mut conn = state.conn().await?;
        if endpoints::delete(&mut conn, id.0).await? { Ok(NoContent) } else { Err(unknown()) }
    }

    /// Test an endpoint
    ///
    /// Delivers a `webhook.test` to it alone, whatever topics it wants. Watch the job, or the endpoint's deliveries.
    #[oai(path = "/webhook-endpoints/:id/test", method = "post", operation_id = "testWebhookEndpoint")]
    async fn test(
        &self,
        caller: Allowed<WebhooksWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<Accepted<DeliveryStarted>> {
        Ok(accepted(deliver::test(&state, id.0, caller.0.user_id()).await?))
    }

    /// An endpoint's deliveries
    ///
    /// Newest first.
    #[oai(path = "/webhook-endpoints/:id/deliveries", method = "get", operation_id = "listWebhookDeliveries")]
    async fn deliveries(
        &self,
        _caller: Allowed<WebhooksWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of a page, 1 to 100; 20 by default.
        limit: Query<Option<i64>>,
    ) -> ApiResult<Json<Page<DeliveryDto>>> {
        let page = PageRequest::<Uuid>::parse(cursor.0.as_deref(), limit.0)?;
        let mut conn = state.conn().await?;
        endpoints::find(&mut conn, id.0).await?.ok_or_else(unknown)?;
        let rows = endpoints::deliveries(&mut conn, id.0, page.after, page.fetch()).await?;
        let rows = rows.into_iter().map(DeliveryDto::new).collect::<ApiResult<Vec<_>>>()?;
        Ok(Json(page.page(rows, |row| row.event_id, |row| row)))
    }

    /// Deliver an event again
    ///
    /// One that was delivered, or given up; 409 while it is on its way.
    #[oai(path = "/webhook-deliveries/:id/resend", method = "post", operation_id = "resendWebhookDelivery")]
    async fn resend(
        &self,
        caller: Allowed<WebhooksWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<Accepted<DeliveryStarted>> {
        Ok(accepted(deliver::resend(&state, id.0, caller.0.user_id()).await?))
    }
}

fn accepted(started: DeliveryStarted) -> Accepted<DeliveryStarted> {
    Accepted { location: format!("/v1/jobs/{}", started.job_id), body: started }
}

fn unknown() -> ApiError {
    ApiError::not_found("webhook endpoint")
}

fn new_secret() -> String {
    let mut key = vec![0; SECRET_BYTES];
    rand::rng().fill_bytes(&mut key);
    SigningKey::from_bytes(key).to_text()
}
