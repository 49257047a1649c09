//! What is outside and may be away: payment gateways, the mail server.
//!
//! A breaker in each process notices ([`Breaker`]), and what it notices is written down once for all workers
//! ([`waybill_schema::system::outages`]). From then on nobody calls but one job at a time, chosen by the database, and those
//! that need the dependency are held in the queue without spending attempts. The first answer brings it up and lets all go. A
//! worker that dies leaves nothing behind that another cannot take up: the rest it has written down ends by the database's
//! clock, and the job that tries then is anybody's.

mod breaker;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;
use waybill_jobs::{Failure, Finished, JobContext};
use waybill_schema::Conn;
use waybill_schema::system::outages::{self, Standing};

pub use breaker::{Breaker, BreakerSettings, Permit};

use crate::fail_point;

/// One dependency. Clones share the breaker.
#[derive(Clone)]
pub struct Dependency {
    name: Arc<str>,
    breaker: Breaker,
    rest: Duration,
    patience: Duration,
    /// The job that tried last and had a question answered.
    heard: Arc<Mutex<Option<Uuid>>>,
}

/// The job that wants to call, and what the database said of the dependency when it was asked.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The job.
    pub cx: &'a JobContext,
    /// How the dependency stood to it.
    pub standing: Standing,
    /// When the database was asked.
    pub asked: Instant,
}

/// When a job that was refused, but is not held, asks again.
const SOON: Duration = Duration::from_secs(1);

/// Leave to make one call.
#[must_use = "tell how the call went"]
pub struct Leave<'a> {
    dependency: &'a Dependency,
    cx: &'a JobContext,
    permit: Permit,
    probe: bool,
}

impl Dependency {
    /// A dependency by its name in the database. `timeout` is the longest that one call takes.
    pub fn new(name: impl Into<Arc<str>>, settings: BreakerSettings, timeout: Duration) -> Self {
        let patience = timeout + Duration::from_secs(1);
        let breaker = Breaker::new(settings);
        Self { name: name.into(), breaker, rest: settings.open_for, patience, heard: Arc::default() }
    }

    /// Its name in the database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this process' breaker refuses calls.
    pub fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// Asks the database how the dependency stands to a job.
    pub async fn caller<'a>(&self, conn: &mut Conn, cx: &'a JobContext) -> Result<Caller<'a>, Failure> {
        let asked = Instant::now();
        let standing = outages::standing(conn, &self.name, cx.id).await?;
        Ok(Caller { cx, standing, asked })
    }

    /// Leave to call, or when to ask again if the job is not held by then: soon, since what refused it may be about to be
    /// written down, or may just have been taken back. A rest of an hour would be slept through by those that lost the race.
    pub async fn enter<'a>(&'a self, caller: Caller<'a>) -> Result<Leave<'a>, Duration> {
        let cx = caller.cx;
        let standing = match caller.standing {
            // Asked again: the job may have lost its turn since, or an earlier call of its own was answered.
            Standing::Probe => self.hold_probe(cx).await,
            standing => standing,
        };
        let (permit, probe) = match standing {
            Standing::Down => return Err(self.rest.min(SOON)),
            Standing::Probe => (self.breaker.probe(), true),
            Standing::Up => {
                self.breaker.all_is_well(caller.asked);
                (self.breaker.admit().map_err(|left| left.min(SOON))?, false)
            }
        };
        Ok(Leave { dependency: self, cx, permit, probe })
    }

    /// Ends the attempt, in the database, with the job held until the dependency is up or it is this job's turn to try. `None`
    /// if the dependency is not down.
    pub async fn wait(&self, cx: &JobContext, reason: &str) -> Result<Option<Finished>, Failure> {
        let mut conn = cx.pool.get().await?;
        cx.wait_for(&mut conn, &self.name, reason).await
    }

    /// [`wait`](Self::wait) after a call of this very job had no answer. `None` also if it is the job, by all that is known, and not
    /// the dependency: others were answered since the last time that it was not.
    pub async fn wait_unanswered(&self, cx: &JobContext, reason: &str) -> Result<Option<Finished>, Failure> {
        let mut conn = cx.pool.get().await?;
        cx.wait_unanswered(&mut conn, &self.name, reason).await
    }

    /// The attempt of the job that tries is over. If all that it wanted was to ask, and it was answered, that has to do: the
    /// dependency is up. If it did not call at all, somebody else may try at once. Does nothing after a call that was answered
    /// or was not.
    pub async fn over(&self, cx: &JobContext) {
        let heard =
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).take_if(|id| *id == cx.id).is_some();
        let name = &*self.name;
        let told = async {
            let mut conn = cx.pool.get().await?;
            if heard {
                Ok::<_, Failure>(outages::probe_answered(&mut conn, name, cx.id).await?)
            } else {
                Ok(outages::probe_passed(&mut conn, name, cx.id).await?)
            }
        };
        if noted(name, told.await) && heard {
            tracing::info!(dependency = name, "it answers questions again: the jobs that wait for it go on");
        }
    }

    async fn hold_probe(&self, cx: &JobContext) -> Standing {
        let held = async {
            let mut conn = cx.pool.get().await?;
            Ok::<_, Failure>(outages::hold_probe(&mut conn, &self.name, cx.id, self.patience).await?)
        };
        held.await.unwrap_or_else(|error| {
            tracing::warn!(dependency = &*self.name, error = error.message, "whose turn it is to try");
            Standing::Down
        })
    }
}

impl Leave<'_> {
    /// There was an answer.
    pub async fn answered(self) {
        self.permit.succeeded();
        if !self.probe {
            return;
        }
        let (name, cx) = (&*self.dependency.name, self.cx);
        let told = async {
            let mut conn = cx.pool.get().await?;
            Ok::<_, Failure>(outages::probe_answered(&mut conn, name, cx.id).await?)
        };
        if noted(name, told.await) {
            tracing::info!(dependency = name, "it answers again: the jobs that wait for it go on");
        }
    }

    /// A question was answered; see [`Permit::heard`].
    pub fn heard(self) {
        self.permit.heard();
        if self.probe {
            let mut heard = self.dependency.heard.lock().unwrap_or_else(PoisonError::into_inner);
            *heard = Some(self.cx.id);
        }
    }

    /// It answered that it wants to be left alone for a while.
    pub async fn busy(self, rest: Duration) {
        self.permit.succeeded();
        if self.probe {
            let rest = rest.max(self.dependency.rest);
            another_rest(self.dependency, self.cx, rest, "it asks to be left alone").await;
        }
    }

    /// There was no answer. `why` is for operators: no secrets, no personal data.
    pub async fn failed(self, why: &str) {
        let Self { dependency, cx, permit, probe } = self;
        let opened = permit.failed();
        if probe {
            another_rest(dependency, cx, dependency.rest, why).await;
        } else if opened {
            let (name, rest) = (&*dependency.name, dependency.rest);
            let told = async {
                fail_point!("outage.before_word");
                let mut conn = cx.pool.get().await?;
                Ok::<_, Failure>(outages::failed(&mut conn, name, rest, why).await?)
            }
            .await;
            if told.is_ok() {
                // By us, or by somebody before us.
                dependency.breaker.recorded();
            }
            if noted(name, told) {
                metrics::counter!("waybill_outages_total", "dependency" => name.to_owned()).increment(1);
                tracing::warn!(dependency = name, why, "it is down: jobs that need it wait");
            }
        }
    }
}

async fn another_rest(dependency: &Dependency, cx: &JobContext, rest: Duration, why: &str) {
    let name = &*dependency.name;
    let told = async {
        let mut conn = cx.pool.get().await?;
        Ok::<_, Failure>(outages::probe_failed(&mut conn, name, cx.id, rest, why).await?)
    }
    .await;
    if told.is_ok() {
        dependency.breaker.recorded();
    }
    if noted(name, told) {
        tracing::info!(dependency = name, why, "it is still down");
    }
}

/// Whether the database was changed. Not to reach it is no reason to fail the call that was made: the breaker holds calls of
/// this process back, and a turn to try that nobody ends runs out.
fn noted(dependency: &str, told: Result<bool, Failure>) -> bool {
    told.unwrap_or_else(|error| {
        tracing::warn!(dependency, error = error.message, "the state of a dependency was not written down");
        false
    })
}
