//! A connection of one's own.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use diesel::QueryResult;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use waybill_schema::{Conn, db};

/// How long to wait for a new connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long a statement of a [`Link`] waits for rows that others have locked. Ours keep them for milliseconds; whoever keeps them
/// longer (a handler's transaction that is still at it, somebody with a console) must not hold up all that a worker does.
const LOCK_LIMIT: Duration = Duration::from_millis(500);
/// When the server gives up a statement. Later than whoever has sent it, who would otherwise leave it, with the rows it has locked,
/// to wait for ever.
const STATEMENT_LIMIT: Duration = Duration::from_secs(35);

/// Why a statement on a [`Link`] has no answer. Whether it took effect is not known, but for `Connect`.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is no connection.
    #[error("no database connection: {0}")]
    Connect(String),
    /// The statement failed, or the connection broke.
    #[error(transparent)]
    Query(#[from] diesel::result::Error),
    /// No answer in time; the connection is given up.
    #[error("the database did not answer within {0:?}")]
    TimedOut(Duration),
}

/// A connection outside the pool that is opened when needed and thrown away after an error.
///
/// What keeps a worker alive (heartbeat, claim, completion) must not wait behind handlers that have the whole pool in use:
/// they would wait for connections that only a completion frees.
pub struct Link {
    url: String,
    tuned: bool,
    conn: Option<Conn>,
    planned: Instant,
}

/// For connections that only claim and complete.
///
/// Plans are cached, and one made while few jobs are there is used when there are a million. So only plans are allowed that
/// are good for any number: by index, row by row. Those settings add a fictitious cost to some plans, for which the server
/// would then compile every run of them (`jit`): that took two thirds of the time of a drain. Sessions only: behind a
/// transaction pooler others would get them too.
const TUNING: &str = "set enable_seqscan = off; set enable_bitmapscan = off; set enable_hashjoin = off;
     set enable_mergejoin = off; set jit = off; set plan_cache_mode = force_generic_plan";

/// How old plans may get on a tuned connection. To make them anew takes about a millisecond.
const REPLAN: Duration = Duration::from_secs(10);

impl Link {
    /// Opens nothing yet.
    pub fn new(url: &str) -> Self {
        let url = db::with_lock_timeout(&db::with_statement_timeout(url, STATEMENT_LIMIT), LOCK_LIMIT);
        Self { url, tuned: false, conn: None, planned: Instant::now() }
    }

    /// The same with a planner that is told what claims and completions need; not behind a transaction pooler.
    #[must_use]
    pub fn tuned(self, tuned: bool) -> Self {
        Self { tuned, ..self }
    }

    /// The connection, a new one if there is none.
    pub async fn conn(&mut self) -> Result<&mut Conn, LinkError> {
        if self.conn.is_none() {
            let mut conn = connect(&self.url).await?;
            if self.tuned {
                bounded(conn.batch_execute(TUNING)).await?;
            }
            (self.conn, self.planned) = (Some(conn), Instant::now());
        }
        self.conn.as_mut().ok_or_else(|| LinkError::Connect("closed".to_owned()))
    }

    /// Forgets the connection; the next use opens a new one.
    pub fn reset(&mut self) {
        self.conn = None;
    }

    /// Runs statements within `limit`; after any error the connection is forgotten.
    ///
    /// A plain closure over the taken connection, since futures that borrow it cannot be named.
    pub async fn run<T, F, Fut>(&mut self, limit: Duration, statements: F) -> Result<T, LinkError>
    where
        F: FnOnce(Conn) -> Fut,
        Fut: Future<Output = (Conn, QueryResult<T>)>,
    {
        self.conn().await?;
        if self.tuned && self.planned.elapsed() > REPLAN {
            self.replan().await?;
        }
        let Some(conn) = self.conn.take() else { return Err(LinkError::Connect("closed".to_owned())) };
        match tokio::time::timeout(limit, statements(conn)).await {
            Ok((conn, Ok(value))) => {
                self.conn = Some(conn);
                Ok(value)
            }
            Ok((_, Err(error))) => Err(error.into()),
            Err(_) => Err(LinkError::TimedOut(limit)),
        }
    }

    async fn replan(&mut self) -> Result<(), LinkError> {
        self.planned = Instant::now();
        let Some(conn) = &mut self.conn else { return Ok(()) };
        let done = bounded(conn.batch_execute("discard plans")).await;
        if done.is_err() {
            self.reset();
        }
        done
    }
}

async fn bounded(statement: impl Future<Output = QueryResult<()>>) -> Result<(), LinkError> {
    match tokio::time::timeout(CONNECT_LIMIT, statement).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(LinkError::TimedOut(CONNECT_LIMIT)),
    }
}

/// Opens a connection outside the pool.
pub(crate) async fn connect(url: &str) -> Result<Conn, LinkError> {
    let url = db::with_session_settings(url);
    match tokio::time::timeout(CONNECT_LIMIT, AsyncPgConnection::establish(&url)).await {
        Ok(Ok(conn)) => Ok(conn),
        Ok(Err(error)) => Err(LinkError::Connect(error.to_string())),
        Err(_) => Err(LinkError::TimedOut(CONNECT_LIMIT)),
    }
}
