//! Keeping row, lock and connection alive.

use std::{pin::pin, sync::Arc, time::Duration};

use diesel_async::RunQueryDsl;
use futures::StreamExt;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use waybill_schema::Conn;

use super::row::{Identity, Wishes, Word, asked, extend, insert, lock, remove};
use crate::postgres::{CHANNEL, Hints, LinkError, link::connect, notify::ASKED, session::Session};

/// How often a lost connection is tried again.
const RECONNECT: Duration = Duration::from_millis(100);

/// Settings of the heartbeat.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How often the lease is extended.
    pub heartbeat: Duration,
    /// How long the jobs stay ours without a word from us.
    pub lease: Duration,
    /// How long the connection may be away before the handlers are asked to stop.
    pub grace: Duration,
    /// Whether to hold an advisory lock; not behind a transaction pooler.
    pub lock: bool,
    /// Whether to listen for hints; not behind a transaction pooler.
    pub listen: bool,
}

/// The heartbeat of one session.
pub struct Pulse {
    url: Arc<str>,
    session: Arc<Session>,
    timing: Timing,
    hints: Hints,
    conn: Conn,
    key: i64,
}

enum Beat {
    Tick,
    Hint(String),
    Broken,
    End,
}

impl Pulse {
    /// Connects, locks and writes the worker's row.
    pub async fn open(
        url: Arc<str>,
        session: Arc<Session>,
        identity: &Identity,
        timing: Timing,
        hints: Hints,
    ) -> Result<Self, LinkError> {
        let (mut conn, key) = connect_and_lock(&url, timing).await?;
        let quiet = session.quiet();
        insert(&mut conn, session.id(), key, timing.lease, identity, quiet.as_deref()).await?;
        Ok(Self { url, session, timing, hints, conn, key })
    }

    /// Beats until `end`, or until the session is lost; then removes the row, unless others already have.
    ///
    /// `end` comes after everything in hand has been settled. What still runs in the worker's name then (the last batch of
    /// a companion) is given `shutdown` to end; after that its jobs are left to the reaper.
    pub async fn run(mut self, end: CancellationToken, shutdown: Duration) {
        let mut tick = tokio::time::interval(self.timing.heartbeat);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            match self.next(&mut tick, &end).await {
                Beat::Hint(payload) if payload == ASKED => self.ask().await,
                Beat::Hint(queue) => self.hints.send(&queue),
                Beat::End => break,
                Beat::Tick => {
                    if !self.beat().await && !self.recover(&end).await {
                        return;
                    }
                }
                Beat::Broken => {
                    if !self.recover(&end).await {
                        return;
                    }
                }
            }
            if self.session.lost().is_cancelled() {
                return;
            }
        }
        self.leave(shutdown).await;
    }

    async fn next(&mut self, tick: &mut tokio::time::Interval, end: &CancellationToken) -> Beat {
        let mut notifications = pin!(self.conn.notifications_stream());
        tokio::select! {
            biased;
            () = end.cancelled() => Beat::End,
            _ = tick.tick() => Beat::Tick,
            notification = notifications.next() => match notification {
                Some(Ok(notification)) => Beat::Hint(notification.payload),
                // The stream ends with the connection: this is how its loss is noticed at once.
                Some(Err(_)) | None => Beat::Broken,
            },
        }
    }

    /// Extends the lease. False if the connection did not serve; a lost session is declared here.
    async fn beat(&mut self) -> bool {
        let (id, key, lease) = (self.session.id(), self.key, self.timing.lease);
        let word = word(&self.session);
        // A slow answer is no reason to drop the connection, and with it the lock, as long as the lease lasts.
        let said = timeout(lease / 3, extend(&mut self.conn, id, key, lease, word)).await;
        if !matches!(said, Ok(Ok(Some(_)))) {
            self.session.tell_places_again();
        }
        match said {
            Ok(Ok(Some(wishes))) => {
                take_up(&self.session, wishes);
                true
            }
            Ok(Ok(None)) => {
                tracing::error!(worker = %id, "others took this worker for dead; starting over under a new id");
                self.session.declare_lost();
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(worker = %id, %error, "heartbeat failed");
                false
            }
            Err(_) => {
                tracing::warn!(worker = %id, "heartbeat got no answer");
                false
            }
        }
    }

    /// Looks who was asked to end, before the next beat does. If this fails, that one finds them.
    async fn ask(&mut self) {
        let limit = self.timing.lease / 3;
        match timeout(limit, asked(&mut self.conn, self.session.id())).await {
            Ok(Ok(asked)) => self.session.ask(&asked),
            Ok(Err(error)) => tracing::debug!(%error, "who was asked to end is found at the next beat"),
            Err(_) => tracing::debug!("who was asked to end is found at the next beat"),
        }
    }

    /// Gets a new connection and lock. False if there is nothing more to do.
    async fn recover(&mut self, end: &CancellationToken) -> bool {
        let since = Instant::now();
        let mut asked = false;
        loop {
            let limit = self.timing.lease / 3;
            let attempt = timeout(limit, async {
                let (mut conn, key) = connect_and_lock(&self.url, self.timing).await?;
                // The row may have missed the last word about the places.
                self.session.tell_places_again();
                let word = word(&self.session);
                let ours = extend(&mut conn, self.session.id(), key, self.timing.lease, word).await?;
                Ok::<_, LinkError>((conn, key, ours))
            });
            // The attempt may hang longer than the grace; the handlers must not wait for it.
            let mut attempt = pin!(attempt);
            let left = self.timing.grace.saturating_sub(since.elapsed());
            let outcome = tokio::select! {
                outcome = &mut attempt => outcome,
                () = end.cancelled() => return false,
                () = tokio::time::sleep(left), if !asked => {
                    tracing::warn!(worker = %self.session.id(), "no heartbeat within the grace; handlers asked to stop");
                    self.session.set_unheard(true);
                    asked = true;
                    tokio::select! {
                        outcome = attempt => outcome,
                        () = end.cancelled() => return false,
                    }
                }
            };
            match outcome.unwrap_or(Err(LinkError::TimedOut(limit))) {
                Ok((conn, key, Some(wishes))) => {
                    take_up(&self.session, wishes);
                    (self.conn, self.key) = (conn, key);
                    self.session.set_unheard(false);
                    tracing::info!(worker = %self.session.id(), away = ?since.elapsed(), "heartbeat is back");
                    return true;
                }
                Ok((_, _, None)) => {
                    tracing::error!(worker = %self.session.id(), "others took this worker for dead");
                    self.session.declare_lost();
                    return false;
                }
                Err(error) => {
                    tracing::debug!(worker = %self.session.id(), %error, "no heartbeat connection");
                    tokio::select! {
                        () = end.cancelled() => return false,
                        () = tokio::time::sleep(RECONNECT) => {}
                    }
                }
            }
        }
    }

    /// Removes the row once nothing runs in its name.
    async fn leave(mut self, shutdown: Duration) {
        let (id, heartbeat) = (self.session.id(), self.timing.heartbeat.min(Duration::from_millis(200)));
        let limit = Instant::now() + shutdown;
        loop {
            match timeout(Duration::from_secs(2), remove(&mut self.conn, id)).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) if Instant::now() < limit => {
                    tokio::time::sleep(heartbeat).await;
                    self.beat().await;
                }
                Ok(Ok(false)) => {
                    tracing::warn!(worker = %id, "leaving with jobs in hand; others will take them over");
                    return;
                }
                Ok(Err(_)) | Err(_) => {
                    tracing::warn!(worker = %id, "leaving without a word: the database does not answer");
                    return;
                }
            }
        }
    }
}

fn word(session: &Session) -> Word {
    Word {
        draining: session.stop().is_cancelled(),
        quiet: session.is_quiet(),
        places: session.untold_places(),
    }
}

fn take_up(session: &Session, wishes: Wishes) {
    session.ask(&wishes.asked);
    session.set_quiet(wishes.quiet_by);
}

/// A connection that holds the lock of a new key.
///
/// New each time: the server may not have noticed yet that the old connection is gone, and keep its lock.
async fn connect_and_lock(url: &str, timing: Timing) -> Result<(Conn, i64), LinkError> {
    let mut conn = connect(url).await?;
    let key = if timing.lock {
        loop {
            // 0 stands for no lock.
            let key = rand::random::<i64>();
            if key != 0 && lock(&mut conn, key).await? {
                break key;
            }
        }
    } else {
        0
    };
    if timing.listen {
        diesel::sql_query(format!("listen {CHANNEL}")).execute(&mut conn).await?;
    }
    Ok((conn, key))
}
