//! A job that finds out, while it runs, that it needs what is down.
//!
//! [`crate::Job::NEEDS`] is for kinds whose every job needs a dependency: their jobs are not even claimed. A job that needs it at
//! some of its steps only is claimed as ever, and says so itself when it gets there.

use diesel::sql_types::{BigInt, Bool, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use waybill_schema::Conn;

use crate::{
    context::JobContext,
    contract::{Failure, Finished},
};

/// Longest reason kept, in characters.
const REASON: usize = 500;

impl JobContext {
    /// Ends the attempt with the job held until `dependency` is up, or it is chosen to try; the attempt is given back. Return
    /// the answer as [`crate::Outcome::Finished`]. `None`, and nothing is changed, if the dependency is not down, or somebody
    /// wants the job to end, or it is no longer ours: then snooze.
    ///
    /// It waits at the end of the line, so that the next to try is another: what failed may be this job's fault.
    ///
    /// Whoever must act on a held job before that (a deadline) lets it go by `hold = null`.
    pub async fn wait_for(
        &self,
        conn: &mut Conn,
        dependency: &str,
        reason: &str,
    ) -> Result<Option<Finished>, Failure> {
        self.wait(conn, dependency, reason, false).await
    }

    /// [`wait_for`](Self::wait_for) after a call of this very job had no answer. `None` also if this has happened to it before, and
    /// somebody was answered since: then it is this job that is not answered, and the attempt counts.
    pub async fn wait_unanswered(
        &self,
        conn: &mut Conn,
        dependency: &str,
        reason: &str,
    ) -> Result<Option<Finished>, Failure> {
        self.wait(conn, dependency, reason, true).await
    }

    async fn wait(
        &self,
        conn: &mut Conn,
        dependency: &str,
        reason: &str,
        called: bool,
    ) -> Result<Option<Finished>, Failure> {
        let reason: String = reason.replace('\0', "\u{fffd}").chars().take(REASON).collect();
        let held = waybill_schema::sql(
            "update jobs j
             set state = 'queued', hold = 'needs:' || $3, run_at = clock_timestamp(), worker_id = null, claimed_at = null,
                 attempt = attempt - 1, snoozes = snoozes + 1,
                 failures = (case when jsonb_array_length(failures) >= 50 then failures - 0 else failures end)
                     || jsonb_strip_nulls(jsonb_build_object('attempt', attempt, 'outcome', 'snoozed', 'error', $4,
                         'started_at', claimed_at, 'finished_at', clock_timestamp(), 'worker_id', worker_id,
                         'unanswered', case when $5 then $3 end))
             where id = $1 and claim = $2 and state = 'running' and (cancel is null or undo)
               and exists (select from dependencies where name = $3 and down_since is not null)
               and not ($5 and exists (
                 select from jsonb_array_elements(failures) f join dependencies d on d.name = f ->> 'unanswered'
                 where d.name = $3 and (f ->> 'finished_at')::timestamptz < d.answered_at))",
        )
        .bind::<SqlUuid, _>(self.id)
        .bind::<BigInt, _>(self.claim)
        .bind::<Text, _>(dependency)
        .bind::<Text, _>(&reason)
        .bind::<Bool, _>(called)
        .execute(conn)
        .await?;
        Ok((held == 1).then_some(Finished("snoozed")))
    }
}
