//! Which pipeline wants which topic, as every release that runs says.
//!
//! During a deploy an old relay hands on events of topics, and to pipelines, that only the new release knows, and an old
//! consumer gets events that only a new one reads. Neither may take them for wanted by nobody: the routes are rows, which each
//! process writes before it binds a queue, so whoever meets such an event finds somebody who wants it.

use std::{collections::HashSet, time::Duration};

use diesel::sql_types::{Array, Text};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use tokio_util::sync::CancellationToken;
use waybill_schema::{Conn, Pool, sql};

use super::outbox::Routes;

/// How often a process repeats what it wants.
const REPEAT: Duration = Duration::from_mins(10);
/// Pause before the database is tried again; doubles from the first to the second.
const AWAY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What makes a row of `event_routes` count: somebody has declared it within a day. A release that crashes when it starts,
/// or is rolled back for a night, loses nothing; a topic that a pipeline has given up is forgotten after a day.
macro_rules! declared {
    () => {
        "declared_at > now() - interval '1 day'"
    };
}
pub(crate) use declared;

#[derive(QueryableByName)]
struct Topic {
    #[diesel(sql_type = Text)]
    topic: String,
}

/// Writes the routes down; returns when that is done, or at the end.
pub(crate) async fn announce(pool: &Pool, routes: &Routes, stop: &CancellationToken) {
    let mut pause = AWAY.0;
    while !stop.is_cancelled() {
        match write(pool, routes).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(error, "the routes of events wait for the database"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(AWAY.1);
    }
}

/// Repeats them until the end.
pub(crate) async fn keep(pool: Pool, routes: Routes, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REPEAT) => announce(&pool, &routes, &stop).await,
        }
    }
}

async fn write(pool: &Pool, routes: &Routes) -> Result<(), String> {
    let mut conn = pool.get().await.map_err(|error| error.to_string())?;
    declare(&mut conn, routes).await.map_err(|error| error.to_string())
}

async fn declare(conn: &mut Conn, routes: &Routes) -> QueryResult<()> {
    // A row that was declared a moment ago is left alone: a hundred workers that start together write it once.
    sql(concat!(
        "with wanted as (select distinct topic, pipeline from unnest($1, $2) as t(topic, pipeline)),
         gone as (
             delete from event_routes r
             where not ",
        declared!(),
        " and not exists (select from wanted w where w.topic = r.topic and w.pipeline = r.pipeline))
         insert into event_routes as r (topic, pipeline) select topic, pipeline from wanted order by topic, pipeline
         on conflict (topic, pipeline) do update set declared_at = now()
         where r.declared_at < now() - interval '1 minute'"
    ))
    .bind::<Array<Text>, _>(&routes.topics)
    .bind::<Array<Text>, _>(&routes.pipelines)
    .execute(conn)
    .await?;
    Ok(())
}

/// Those of `topics` that some release wants for the pipeline.
pub(crate) async fn wanted(
    conn: &mut Conn,
    pipeline: &str,
    topics: &HashSet<String>,
) -> QueryResult<HashSet<String>> {
    let rows: Vec<Topic> = sql(concat!(
        "select topic from event_routes where pipeline = $1 and topic = any ($2) and ",
        declared!()
    ))
    .bind::<Text, _>(pipeline)
    .bind::<Array<Text>, _>(topics.iter().map(String::as_str).collect::<Vec<_>>())
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.topic).collect())
}
