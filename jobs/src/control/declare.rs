//! What the code says of kinds and queues, written down by each worker that starts.

use diesel::QueryResult;
use diesel::sql_types::{Array, Text};
use diesel_async::RunQueryDsl;
use waybill_schema::Conn;

use super::{Limits, default_limits};

/// What a worker's code knows.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// Every kind it runs, with the highest version of the arguments that it reads.
    pub kinds: Vec<(&'static str, i16)>,
    /// (kind, dependency), see [`crate::Job::NEEDS`].
    pub needs: Vec<(&'static str, &'static str)>,
    /// Limits of queues, unless an operator has set others.
    pub limits: Vec<(String, Limits)>,
}

/// Writes it down. Needs that a kind had in another version of the code, and has no more, are forgotten.
pub async fn declare(conn: &mut Conn, declared: &Declared) -> QueryResult<()> {
    waybill_schema::sql(
        "with gone as (
             delete from kind_needs n
             where n.kind = any($1)
               and not exists (select from unnest($2, $3) as t(kind, dependency)
                               where t.kind = n.kind and t.dependency = n.dependency))
         insert into kind_needs (kind, dependency) select kind, dependency from unnest($2, $3) as t(kind, dependency)
         order by kind, dependency on conflict do nothing",
    )
    .bind::<Array<Text>, _>(declared.kinds.iter().map(|kind| kind.0).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(declared.needs.iter().map(|needs| needs.0).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(declared.needs.iter().map(|needs| needs.1).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    for (queue, limits) in &declared.limits {
        default_limits(conn, queue, limits).await?;
    }
    Ok(())
}
