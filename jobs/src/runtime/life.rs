//! One life of a worker, from its row to its leave.

use std::{sync::Arc, time::Duration};

use apalis_core::{
    monitor::{Monitor, MonitorError},
    worker::builder::WorkerBuilder,
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Worker, audit,
    service::{RunClaim, Shared},
    watchdog,
};
use crate::{
    flows::Settler,
    heartbeat::{Identity, Pulse},
    postgres::{Completer, Link, backend::QueueBackend, fetch::Fetcher, session::Session},
    reaper::Reaper,
};

/// Pause between tries to start while the database is away.
const RETRY: Duration = Duration::from_millis(500);
/// How often to look for handlers that never yield, if the grace is not shorter.
const WATCH: Duration = Duration::from_secs(1);
/// How long the end waits for outcomes on their way, and for handlers that block their thread.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Lives until `shutdown`, or until others have taken this worker for dead.
pub(super) async fn live(worker: &Worker, shutdown: &CancellationToken) {
    let session = Arc::new(Session::new(worker.quiet.clone()));
    let Some(pulse) = open(worker, &session, shutdown).await else { return };
    let config = &worker.config;
    let end = CancellationToken::new();
    let mut pulse = tokio::spawn(pulse.run(end.clone(), config.shutdown_deadline));
    tracing::info!(worker = %session.id(), queues = ?config.queues, "worker started");

    let (completer, completions) = Completer::start(link(worker));
    let mut running = start(worker, &session, &completer);
    watchdog::start(&session, worker.pool.clone(), config.cancel_grace.min(WATCH), config.end_when_overdue);
    worker.identity.send_replace(Some(session.id()));

    tokio::select! {
        () = shutdown.cancelled() => {}
        () = session.lost().cancelled() => {}
        // Its queues' backends end only when the session stops.
        _ = &mut running => tracing::error!("the monitor of the workers ended; starting over"),
        // Ends before `end` only with the session.
        _ = &mut pulse => session.declare_lost(),
    }
    worker.identity.send_replace(None);
    session.stop().cancel();
    finish(worker, &session, running).await;
    drop(completer);
    if timeout(LAST_WORDS, completions).await.is_err() {
        tracing::warn!(worker = %session.id(), "outcomes could not be stored; others will take those jobs over");
    }
    if !session.lost().is_cancelled() {
        leave(worker, &session, &end, pulse).await;
    }
    tracing::info!(worker = %session.id(), "worker stopped");
}

fn link(worker: &Worker) -> Link {
    Link::new(&worker.database_url).tuned(worker.config.lock)
}

/// The heartbeat of a new session; `None` if shutdown comes first.
async fn open(worker: &Worker, session: &Arc<Session>, shutdown: &CancellationToken) -> Option<Pulse> {
    let config = &worker.config;
    let mut queues = config.queue_names();
    queues.extend(config.other_queues.iter().cloned());
    let identity = Identity { service: config.service.clone(), version: config.version.clone(), queues };
    loop {
        let opened = Pulse::open(
            Arc::clone(&worker.database_url),
            Arc::clone(session),
            &identity,
            config.timing(),
            worker.notifier.hints().clone(),
        );
        tokio::select! {
            () = shutdown.cancelled() => return None,
            pulse = opened => match pulse {
                Ok(pulse) => return Some(pulse),
                Err(error) => tracing::warn!(%error, "the worker waits for the database"),
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// Starts fetcher, reaper, audit, and an apalis worker per queue.
fn start(
    worker: &Worker,
    session: &Arc<Session>,
    completer: &Completer,
) -> JoinHandle<Result<(), MonitorError>> {
    let config = &worker.config;
    let url = &worker.database_url;
    let shared = Arc::new(Shared {
        registry: Arc::clone(&worker.registry),
        pool: worker.pool.clone(),
        completer: completer.clone(),
        notifier: worker.notifier.clone(),
        settler: Settler::start(worker.pool.clone(), worker.notifier.clone()),
        cancel_grace: config.cancel_grace,
    });
    let mut fetcher =
        Fetcher::new(link(worker), Arc::clone(session), worker.notifier.clone(), config.claim_batch)
            .declaring(worker.registry.declared());
    // Only a bug in a layer can end an apalis worker early: the backends never fail, and handlers' panics are caught.
    let mut monitor = Monitor::new().should_restart(|context, error| {
        tracing::error!(queue = context.name(), %error, "restarting the worker of a queue");
        true
    });
    for (queue, concurrency) in &config.queues {
        let jobs = fetcher.serve(queue, *concurrency);
        let backend = QueueBackend::new(queue, jobs, Arc::clone(session), completer.clone());
        let (queue, shared) = (queue.clone(), Arc::clone(&shared));
        monitor = monitor.register(move |_| {
            // Concurrency is the number of places that the fetcher fills.
            WorkerBuilder::new(queue.clone()).backend(backend.clone()).build(RunClaim::new(&queue, &shared))
        });
    }
    tokio::spawn(fetcher.run());
    let reaper = Reaper::new(url, worker.notifier.clone(), config.reap_every, config.grace);
    tokio::spawn(reaper.run(session.stop().clone()));
    tokio::spawn(audit::run(
        worker.pool.clone(),
        Arc::clone(session),
        completer.clone(),
        config.queue_names(),
        config.lease / 3,
    ));
    if config.queues.is_empty() {
        // A monitor without workers would end at once.
        let stop = session.stop().clone();
        return tokio::spawn(async move {
            stop.cancelled().await;
            Ok(())
        });
    }
    tokio::spawn(monitor.run())
}

/// Lets running jobs finish until the deadline, then asks them to stop, then drops them.
async fn finish(worker: &Worker, session: &Session, mut running: JoinHandle<Result<(), MonitorError>>) {
    let config = &worker.config;
    if running.is_finished() {
        // Its jobs are tasks of their own.
        if session.in_hand() > 0 {
            session.cancel_handlers();
            tokio::time::sleep(config.cancel_grace).await;
        }
        session.abandon_handlers();
        return;
    }
    if session.lost().is_cancelled() {
        // Asked and dropped when the session was declared lost.
        let _ = timeout(LAST_WORDS, &mut running).await;
    } else if timeout(config.shutdown_deadline, &mut running).await.is_err() {
        tracing::warn!(jobs = session.in_hand(), "deadline passed; asking the running jobs to stop");
        session.cancel_handlers();
        if timeout(config.cancel_grace, &mut running).await.is_err() {
            session.abandon_handlers();
            let _ = timeout(LAST_WORDS, &mut running).await;
        }
    }
    running.abort();
}

/// Leaves nothing behind in the worker's name.
async fn leave(worker: &Worker, session: &Session, end: &CancellationToken, pulse: JoinHandle<()>) {
    let queues = worker.config.queue_names();
    let begun = session.begun();
    let rest = audit::hand_back_rest(&worker.database_url, session.id(), &queues, &begun);
    match timeout(LAST_WORDS, rest).await {
        Ok(Ok(0)) => {}
        Ok(Ok(jobs)) => tracing::info!(jobs, "handed back at the end"),
        Ok(Err(error)) => tracing::warn!(%error, "could not hand back at the end"),
        Err(_) => tracing::warn!("could not hand back at the end: the database does not answer"),
    }
    let handled = session.handled();
    if handled > 0 {
        // The heartbeat goes on, for others would run their jobs while they do.
        tracing::warn!(
            handlers = handled,
            "handlers that never yield keep their jobs until this process ends"
        );
        return;
    }
    end.cancel();
    if session.in_hand() == 0 {
        let _ = pulse.await;
    } else {
        // What could not be stored keeps the row there, for others to take over.
        let _ = timeout(LAST_WORDS, pulse).await;
    }
}
