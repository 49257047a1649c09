//! Comparing what the worker thinks it holds with what the database says.

use std::{collections::HashMap, sync::Arc, time::Duration};

use uuid::Uuid;
use waybill_schema::Pool;

use crate::postgres::complete::PutBack;
use crate::postgres::{
    Completer, LinkError, Resolution, held::held, link::connect, put_back, session::Session,
};

/// Looks every `every` for jobs that the database says we hold and we know nothing of, and hands them back: the answer of
/// their claim was lost with a connection, while the heartbeat keeps extending their lease. Ends with the session.
pub(super) async fn run(
    pool: Pool,
    session: Arc<Session>,
    completer: Completer,
    queues: Vec<String>,
    every: Duration,
) {
    let mut suspects: HashMap<Uuid, i64> = HashMap::new();
    loop {
        tokio::select! {
            () = session.stop().cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        let rows = match pool.get().await {
            Ok(mut conn) => match held(&mut conn, session.id(), &queues).await {
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
                completer.settle(*id, *claim, Resolution::HAND_BACK).await;
            }
        }
        suspects = unknown;
    }
}

/// Hands back whatever the database still says we hold, once nothing is running any more.
pub(super) async fn hand_back_rest(url: &str, worker: Uuid, queues: &[String]) -> Result<usize, LinkError> {
    let mut conn = connect(url).await?;
    let rest: Vec<_> = held(&mut conn, worker, queues)
        .await?
        .into_iter()
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
    Ok(put_back(&mut conn, &rest).await?.len())
}
