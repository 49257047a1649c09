//! Comparing what the worker thinks it holds with what the database says.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use diesel::QueryResult;
use tokio::time::Instant;
use uuid::Uuid;
use waybill_schema::{Conn, Pool};

use crate::postgres::PutBack;
use crate::postgres::{
    Completer, LinkError, Resolution, Tid,
    held::{forget_claims, held},
    link::connect,
    locked::locked,
    put_back,
    session::Session,
};

/// How often to look for claims whose jobs have ended elsewhere: handed back by an audit, or the end of a pipeline's batch.
const CLAIMS: Duration = Duration::from_secs(60);

/// Looks every `every` for jobs that the database says we hold and we know nothing of, and hands them back: the answer of
/// their claim was lost with a connection, while the heartbeat keeps extending their lease. Ends with the session.
pub(super) async fn run(
    pool: Pool,
    session: Arc<Session>,
    completer: Completer,
    queues: Vec<String>,
    every: Duration,
) {
    let mut looked = Instant::now();
    let mut suspects: HashMap<Uuid, i64> = HashMap::new();
    loop {
        tokio::select! {
            () = session.stop().cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        let rows = match pool.get().await {
            Ok(mut conn) => match look(&mut conn, &session, &queues, &mut looked).await {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::debug!(%error, "audit waits for the database");
                    continue;
                }
            },
            Err(_) => continue,
        };
        let unknown: HashMap<_, _> = session.reconcile(&rows).into_iter().collect();
        for (id, claim) in &unknown {
            // Only what was unknown last time too: a claim's answer may be on its way.
            if suspects.get(id) == Some(claim) {
                tracing::warn!(job = %id, "claimed without our knowing; handed back");
                completer.settle(*id, *claim, Tid::UNKNOWN, Resolution::HAND_BACK).await;
            }
        }
        suspects = unknown;
    }
}

async fn look(
    conn: &mut Conn,
    session: &Session,
    queues: &[String],
    looked: &mut Instant,
) -> QueryResult<HashMap<Uuid, i64>> {
    if looked.elapsed() > CLAIMS {
        *looked = Instant::now();
        forget_claims(conn, session.id(), &session.open_claims()).await?;
    }
    held(conn, session.id(), queues).await
}

/// Hands back whatever the database still says we hold, but for what has `begun`: a handler may still be at it, or has ended and its
/// outcome could not be stored. Nor what somebody else has locked, who must not keep the others from going back.
pub(super) async fn hand_back_rest(
    url: &str,
    worker: Uuid,
    queues: &[String],
    begun: &HashSet<Uuid>,
) -> Result<usize, LinkError> {
    let mut conn = connect(url).await?;
    let mut rest: Vec<_> = held(&mut conn, worker, queues)
        .await?
        .into_iter()
        .filter(|(id, _)| !begun.contains(id))
        .map(|(id, claim)| PutBack {
            id,
            claim,
            delay: Duration::ZERO,
            refund: true,
            snooze: false,
            entry: None,
        })
        .collect();
    if rest.is_empty() {
        return Ok(0);
    }
    let ids: Vec<_> = rest.iter().map(|back| back.id).collect();
    let locked = locked(&mut conn, &ids).await?;
    rest.retain(|back| !locked.contains(&back.id));
    Ok(put_back(&mut conn, &rest).await?.len())
}
