//! Rows of the ledger. The checkout's steps write theirs in statements of their own, see [`crate::orders::saga`].

use chrono::{DateTime, Utc};
use diesel::sql_types::{Bool, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::{Call, Effect, EffectState, ledger_json as json};
use crate::{Conn, sql};

/// An effect that is about to be asked for.
#[derive(Debug, Clone)]
pub struct NewEffect {
    /// See [`super::authorize_key`] and its siblings.
    pub key: String,
    /// authorize, capture, void, refund.
    pub kind: &'static str,
    /// Whom it is asked of.
    pub provider: String,
    /// The order.
    pub correlation_id: Uuid,
    /// What is asked; no secrets.
    pub request: Value,
    /// The call that follows, as [`super::CallOutcome::Sent`].
    pub call: Call,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    provider: String,
    #[diesel(sql_type = Text)]
    state: EffectState,
    #[diesel(sql_type = Jsonb)]
    request: Value,
    #[diesel(sql_type = Nullable<Jsonb>)]
    response: Option<Value>,
    #[diesel(sql_type = Jsonb)]
    calls: Value,
    #[diesel(sql_type = Timestamptz)]
    started_at: DateTime<Utc>,
}

impl TryFrom<Row> for Effect {
    type Error = diesel::result::Error;

    fn try_from(row: Row) -> QueryResult<Self> {
        Ok(Self {
            key: row.key,
            kind: row.kind,
            provider: row.provider,
            state: row.state,
            request: row.request,
            response: row.response,
            calls: json::read(row.calls)?,
            started_at: row.started_at,
        })
    }
}

/// Writes the intention to call; false if the effect is in the ledger already.
pub async fn begin(conn: &mut Conn, effect: &NewEffect) -> QueryResult<bool> {
    let inserted = sql("insert into effects (key, kind, provider, correlation_id, request, calls)
         values ($1, $2, $3, $4, $5, $6) on conflict (key) do nothing")
    .bind::<Text, _>(&effect.key)
    .bind::<Text, _>(effect.kind)
    .bind::<Text, _>(&effect.provider)
    .bind::<SqlUuid, _>(effect.correlation_id)
    .bind::<Jsonb, _>(&effect.request)
    .bind::<Jsonb, _>(json::write(&[&effect.call]))
    .execute(conn)
    .await?;
    Ok(inserted == 1)
}

/// One effect.
pub async fn find(conn: &mut Conn, key: &str) -> QueryResult<Option<Effect>> {
    let row: Option<Row> = sql(
        "select key, kind, provider, state, request, response, calls, started_at from effects where key = $1",
    )
    .bind::<Text, _>(key)
    .get_result(conn)
    .await
    .optional()?;
    row.map(Effect::try_from).transpose()
}

/// Every effect of an order.
pub async fn of_correlation(conn: &mut Conn, correlation_id: Uuid) -> QueryResult<Vec<Effect>> {
    let rows: Vec<Row> =
        sql("select key, kind, provider, state, request, response, calls, started_at from effects
         where correlation_id = $1 order by started_at, key")
        .bind::<SqlUuid, _>(correlation_id)
        .load(conn)
        .await?;
    rows.into_iter().map(Effect::try_from).collect()
}

/// Appends calls to an effect that is not settled; `answered` replaces the last entry (what was sent) by the first of
/// `calls` (what came of it).
pub async fn record(conn: &mut Conn, key: &str, answered: bool, calls: &[Call]) -> QueryResult<()> {
    sql("update effects set calls = (case when $2 then calls - (-1) else calls end) || $3
         where key = $1 and state = 'started'")
    .bind::<Text, _>(key)
    .bind::<Bool, _>(answered)
    .bind::<Jsonb, _>(json::write(calls))
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes the answer, once; false if it was settled before. `answered` as in [`record`].
pub async fn settle(
    conn: &mut Conn,
    key: &str,
    state: EffectState,
    response: &Value,
    answered: bool,
    calls: &[Call],
) -> QueryResult<bool> {
    let settled = sql("update effects set state = $2, response = $3, finished_at = now(),
                calls = (case when $4 then calls - (-1) else calls end) || $5
         where key = $1 and state = 'started'")
    .bind::<Text, _>(key)
    .bind::<Text, _>(state)
    .bind::<Jsonb, _>(response)
    .bind::<Bool, _>(answered)
    .bind::<Jsonb, _>(json::write(calls))
    .execute(conn)
    .await?;
    Ok(settled == 1)
}

/// Corrects an effect that was given up as never arrived, and had happened after all.
pub async fn correct(conn: &mut Conn, key: &str, response: &Value) -> QueryResult<bool> {
    let corrected = sql("update effects set state = 'succeeded', response = $2, finished_at = now()
         where key = $1 and state = 'rejected' and response ->> 'outcome' = 'never_arrived'")
    .bind::<Text, _>(key)
    .bind::<Jsonb, _>(response)
    .execute(conn)
    .await?;
    Ok(corrected == 1)
}
