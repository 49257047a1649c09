//! Who changed what at run time.

use chrono::{DateTime, Utc};
use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use crate::{Conn, new_id, sql};

/// A change that an operator made.
#[derive(Debug, Clone, QueryableByName)]
pub struct ActionRow {
    /// Id, newer ones larger.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// When.
    #[diesel(sql_type = Timestamptz)]
    pub at: DateTime<Utc>,
    /// Who: `admin:<id>` or `api_key:<id>`.
    #[diesel(sql_type = Text)]
    pub actor: String,
    /// What, as `area.verb`.
    #[diesel(sql_type = Text)]
    pub action: String,
    /// To what: a queue, a kind, a job's id, a schedule.
    #[diesel(sql_type = Text)]
    pub target: String,
    /// With which values.
    #[diesel(sql_type = Jsonb)]
    pub detail: Value,
}

/// Records a change, in the transaction that makes it.
pub async fn record(
    conn: &mut Conn,
    actor: &str,
    action: &str,
    target: &str,
    detail: &Value,
) -> QueryResult<()> {
    sql("insert into operator_actions (id, actor, action, target, detail) values ($1, $2, $3, $4, $5)")
        .bind::<SqlUuid, _>(new_id())
        .bind::<Text, _>(actor)
        .bind::<Text, _>(action)
        .bind::<Text, _>(target)
        .bind::<Jsonb, _>(detail)
        .execute(conn)
        .await?;
    tracing::info!(actor, action, target, %detail, "changed by an operator");
    Ok(())
}

/// Which changes; what is none does not filter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Made by this one.
    pub actor: Option<String>,
    /// This, or, without a dot, everything of this area.
    pub action: Option<String>,
    /// To this.
    pub target: Option<String>,
    /// At this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Before this.
    pub until: Option<DateTime<Utc>>,
}

/// Changes, the newest first, after one of the list.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    after: Option<Uuid>,
    limit: i64,
) -> QueryResult<Vec<ActionRow>> {
    // Planned for its values each time: filters that are none must cost nothing.
    diesel::sql_query(
        "select id, at, actor, action, target, detail from operator_actions
         where ($1::uuid is null or id < $1) and ($2::text is null or actor = $2)
           and ($3::text is null or action = $3 or split_part(action, '.', 1) = $3)
           and ($4::text is null or target = $4) and ($5::timestamptz is null or at >= $5)
           and ($6::timestamptz is null or at < $6)
         order by id desc limit $7",
    )
    .bind::<Nullable<SqlUuid>, _>(after)
    .bind::<Nullable<Text>, _>(filter.actor.as_deref())
    .bind::<Nullable<Text>, _>(filter.action.as_deref())
    .bind::<Nullable<Text>, _>(filter.target.as_deref())
    .bind::<Nullable<Timestamptz>, _>(filter.since)
    .bind::<Nullable<Timestamptz>, _>(filter.until)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}
