//! From an upload to an import and its job.

use diesel_async::AsyncConnection;
use poem::Request;
use poem_openapi::types::{ParseFromJSON, ToJSON};
use uuid::Uuid;
use waybill_jobs::{Enqueue, Job, enqueue_with, kinds::RunImport};
use waybill_schema::{
    Conn,
    idempotency::Answer,
    imports::{self, NewImport},
    new_id,
};

use super::{
    dto::ImportDto,
    upload::{self, Received, Upload},
};
use crate::{
    auth::Caller,
    error::{ApiError, ApiResult},
    idempotency::{Key, fingerprint},
    middleware::backpressure::Refused,
    state::AppState,
};

/// Stores the file, then writes import, job and answer in one transaction. If that does not commit, or the request was
/// served before, the file is removed again.
pub async fn create(
    state: &AppState,
    caller: &Caller,
    request: &Request,
    idempotency_key: Option<&str>,
    upload: Upload,
) -> ApiResult<ImportDto> {
    let id = new_id();
    let object = format!("imports/{id}.csv");
    let refused = Refused::of(request);
    // A key that is none is refused before the file is taken; while uploads are refused, so is one that is not known.
    let unread = Key::parse(idempotency_key, scope(caller), [0; 32])?;
    if let Some(refused) = refused {
        let known = match &unread {
            Some(key) => key.is_known(&*state.conn().await?).await?,
            None => false,
        };
        if !known {
            return Err(refused.error());
        }
    }
    let received = upload.receive(&state.files, &object, state.config.api.upload_limit_bytes).await?;
    let parts = [received.kind.as_str().as_bytes(), received.filename.as_bytes(), &received.hash];
    let key = Key::parse(idempotency_key, scope(caller), fingerprint(request, parts))?;

    match write(state, caller, id, &received, key.as_ref(), refused).await {
        Ok((import, true)) => {
            state.notifier.hint(RunImport::QUEUE);
            Ok(import)
        }
        Ok((import, false)) => {
            upload::discard(&state.files, Some(received.stored)).await;
            Ok(import)
        }
        Err(error) => {
            upload::discard(&state.files, Some(received.stored)).await;
            Err(error)
        }
    }
}

/// The import, and whether it is new.
async fn write(
    state: &AppState,
    caller: &Caller,
    id: Uuid,
    received: &Received,
    key: Option<&Key>,
    refused: Option<&Refused>,
) -> ApiResult<(ImportDto, bool)> {
    let mut conn = state.conn().await?;
    (*conn)
        .transaction(async |conn: &mut Conn| {
            if let Some(key) = key
                && let Some(Answer { body, .. }) = key.look(conn).await?
            {
                let import =
                    ImportDto::parse_from_json(body).map_err(|e| ApiError::internal(e.into_message()))?;
                return Ok((import, false));
            }
            if let Some(refused) = refused {
                return Err(refused.error());
            }
            let new = NewImport {
                id,
                kind: received.kind,
                filename: received.filename.clone(),
                object: received.stored.key.clone(),
                size_bytes: i64::try_from(received.stored.size).map_err(ApiError::internal)?,
                created_by: caller.user_id(),
                job_id: new_id(),
            };
            let row = imports::create(conn, &new).await?;
            let options = Enqueue { id: Some(new.job_id), owner_id: caller.user_id(), ..Enqueue::default() };
            enqueue_with(conn, &RunImport { import_id: id }, options).await?;
            let import = ImportDto::from(row);
            if let Some(key) = key {
                let answer =
                    Answer { status: 202, location: Some(import.location()), body: import.to_json() };
                key.store(conn, &answer).await?;
            }
            Ok((import, true))
        })
        .await
}

fn scope(caller: &Caller) -> String {
    match caller {
        Caller::ApiKey(key) => format!("api_key:{}", key.id),
        Caller::Customer(user) | Caller::Admin(user) => format!("user:{}", user.id),
        Caller::Guest => "guest".to_owned(),
    }
}
