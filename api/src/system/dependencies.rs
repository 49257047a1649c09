//! What is outside, and saying that it is down.

use std::{collections::BTreeMap, time::Duration};

use diesel_async::AsyncConnection;
use poem::web::Data;
use poem_openapi::{OpenApi, param::Path, payload::Json};
use serde_json::json;
use waybill_schema::{
    Conn,
    system::{controls, outages},
};

use super::{
    control::record,
    control_dto::{DependencyDto, DependencyList, DownBody},
};
use crate::{
    app::Tag,
    auth::{Allowed, SystemRead, SystemWrite},
    error::{ApiError, ApiResult},
    http::Body,
    state::AppState,
};

/// `/v1/admin/system/dependencies`.
pub struct Dependencies;

#[OpenApi(prefix_path = "/v1/admin/system", tag = "Tag::AdminSystem")]
impl Dependencies {
    /// What jobs need from outside
    ///
    /// What kinds of jobs need, the payment gateway, the mail server, and what else was ever down. While one is, jobs that need it wait and spend no attempts, but one at a time that tries.
    #[oai(path = "/dependencies", method = "get", operation_id = "getDependencies")]
    async fn dependencies(
        &self,
        _caller: Allowed<SystemRead>,
        state: Data<&AppState>,
    ) -> ApiResult<Json<DependencyList>> {
        let data = dependencies_of(&mut *state.conn().await?, &state).await?;
        Ok(Json(DependencyList { data }))
    }

    /// Say that something outside is down
    ///
    /// Jobs that need it wait and spend no attempts; after the time one of them may try. For what an operator knows beforehand,
    /// such as a provider's maintenance. Workers find out by themselves what does not answer: `gateway.<name>`, `mail_server`.
    ///
    /// 404 for what nothing needs: see `getDependencies`.
    #[oai(path = "/dependencies/:name/down", method = "post", operation_id = "dependencyDown")]
    async fn down(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        name: Path<String>,
        body: Body<DownBody>,
    ) -> ApiResult<Json<DependencyDto>> {
        let rest = Duration::from_secs(body.0.for_seconds.unwrap_or(60).into());
        let reason = body.0.reason.unwrap_or_default();
        let detail = json!({ "for_seconds": rest.as_secs(), "reason": reason });
        let mut conn = state.conn().await?;
        dependency(&mut conn, &state, &name.0).await?;
        (*conn)
            .transaction(async |conn: &mut Conn| {
                controls::dependency_down(conn, &name.0, rest, &reason).await?;
                record(conn, &caller.0, "dependency.down", &name.0, &detail).await
            })
            .await?;
        dependency(&mut conn, &state, &name.0).await
    }

    /// Say that something outside is up again
    ///
    /// All that waited for it goes on. Should it not answer, it is down again after a few failures.
    #[oai(path = "/dependencies/:name/up", method = "post", operation_id = "dependencyUp")]
    async fn up(
        &self,
        caller: Allowed<SystemWrite>,
        state: Data<&AppState>,
        name: Path<String>,
    ) -> ApiResult<Json<DependencyDto>> {
        let mut conn = state.conn().await?;
        (*conn)
            .transaction(async |conn: &mut Conn| {
                if controls::dependency_up(conn, &name.0).await? {
                    record(conn, &caller.0, "dependency.up", &name.0, &json!({})).await?;
                }
                Ok::<_, ApiError>(())
            })
            .await?;
        dependency(&mut conn, &state, &name.0).await
    }
}

/// Every dependency of the moment, by name.
async fn dependencies_of(conn: &mut Conn, state: &AppState) -> ApiResult<Vec<DependencyDto>> {
    let waiting = outages::waiting(conn).await?;
    let mut all: BTreeMap<String, DependencyDto> = BTreeMap::new();
    let configured = [outages::gateway(state.gateway_name()), outages::MAIL_SERVER.to_owned()];
    for name in controls::needed(conn).await?.into_iter().chain(configured) {
        all.insert(name.clone(), DependencyDto::up(name, &waiting));
    }
    for row in controls::dependencies(conn).await? {
        all.insert(row.name.clone(), DependencyDto::new(row, &waiting));
    }
    Ok(all.into_values().collect())
}

/// 404 for one that nothing needs: a slip of the pen must not look as if it worked.
async fn dependency(conn: &mut Conn, state: &AppState, name: &str) -> ApiResult<Json<DependencyDto>> {
    let all = dependencies_of(conn, state).await?;
    all.into_iter().find(|one| one.name == name).map(Json).ok_or_else(|| ApiError::not_found("dependency"))
}
