//! The events' side of a process.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_schema::Pool;

use super::{
    amqp::AmqpConsumer,
    broker::Link,
    config::{EventsConfig, PipelineSpec},
    dead::DeadConsumer,
    drive::drive,
    effect::Stage,
    feed::Feed,
    item::Lane,
    job_consumer::JobConsumer,
    jobs::JobSource,
    messages::MessageSource,
    outbox::Routes,
    relay::Relay,
    routes,
    topology::Topology,
};
use crate::{pipeline::Pipeline, postgres::Notifier};

/// Messages of the dead queue in hand: there are hardly ever any.
const DEAD_BATCH: u16 = 50;

/// The events' side of a process: a relay, and the consumers of the pipelines that this process serves.
pub struct Events {
    database_url: String,
    pool: Pool,
    routes: Vec<PipelineSpec>,
    pipelines: Vec<Arc<dyn Pipeline>>,
    config: EventsConfig,
    notifier: Option<Notifier>,
    quiet: Option<watch::Receiver<Option<String>>>,
}

impl Events {
    /// Prepares them; nothing runs before [`run`](Self::run).
    ///
    /// `database_url` is for the relay's own connection, which holds session locks: it must not lead through a pooler that
    /// shares connections between transactions. `routes` names every pipeline of the deployment: the relay hands on events
    /// of pipelines that other processes serve. `pipelines` are those that this process serves; they are added to the routes
    /// when missing there.
    pub fn new(
        database_url: impl Into<String>,
        pool: Pool,
        routes: Vec<PipelineSpec>,
        pipelines: Vec<Arc<dyn Pipeline>>,
        config: EventsConfig,
    ) -> Self {
        let mut routes = routes;
        for pipeline in &pipelines {
            if routes.iter().all(|route| route.name != pipeline.name()) {
                routes.push(PipelineSpec::of(pipeline.as_ref()));
            }
        }
        Self {
            database_url: database_url.into(),
            pool,
            routes,
            pipelines,
            config,
            notifier: None,
            quiet: None,
        }
    }

    /// Wakes by the process' notifier, beside polling: the consumers of event jobs, and who waits for what events cause.
    #[must_use]
    pub fn with_notifier(mut self, notifier: Notifier) -> Self {
        self.notifier = Some(notifier);
        self
    }

    /// Takes no events while somebody wants the process to be quiet, see [`crate::runtime::Worker::quiet`]. The relay goes
    /// on: it may be the only one.
    #[must_use]
    pub fn with_quiet(mut self, quiet: watch::Receiver<Option<String>>) -> Self {
        self.quiet = Some(quiet);
        self
    }

    /// Runs until `shutdown`, then finishes the batches in hand within the configured deadline. Dropped, it stops at once;
    /// nothing is lost either way.
    ///
    /// `worker` is this process' row in `workers` while it has one: event jobs are claimed in its name, and none are while
    /// it is `None`.
    pub async fn run(self, worker: watch::Receiver<Option<Uuid>>, shutdown: CancellationToken) {
        let deadline = self.config.shutdown_deadline;
        // Before any queue is bound: whoever gets an event through it must know that somebody wants it.
        let routes = Routes::new(&self.routes);
        routes::announce(&self.pool, &routes, &shutdown).await;
        // The connections to the broker outlive those who use them.
        let disconnect = CancellationToken::new();
        let mut links = JoinSet::new();
        let mut tasks = JoinSet::new();

        tasks.spawn(routes::keep(self.pool.clone(), routes, shutdown.clone()));
        let topology = Arc::new(Topology::new(&self.config, self.routes.clone()));
        let mut link = |name: &str| {
            let url = self.config.broker_url.clone()?;
            let (link, supervisor) =
                Link::new(name.to_owned(), url, Arc::clone(&topology), disconnect.clone());
            links.spawn(supervisor);
            Some(link)
        };
        if self.config.relay {
            let relay = Relay {
                database_url: self.database_url.clone(),
                config: self.config.clone(),
                routes: Routes::new(&self.routes),
                link: link("relay"),
                topology: Arc::clone(&topology),
                notifier: self.notifier.clone(),
                worker: worker.clone(),
            };
            tasks.spawn(relay.run(shutdown.clone()));
        }
        let consumers = (!self.pipelines.is_empty()).then(|| link("consumers"));
        if let Some(link) = consumers {
            self.consume(link.as_ref(), &topology, &worker, &shutdown).await;
        }

        shutdown.cancelled().await;
        drained(&mut tasks, deadline).await;
        disconnect.cancel();
        while links.join_next().await.is_some() {}
    }

    /// Takes events whenever nobody wants the process to be quiet, until `shutdown`. Each time it ends, what is in hand is
    /// finished and the rest goes back.
    async fn consume(
        &self,
        link: Option<&Link>,
        topology: &Arc<Topology>,
        worker: &watch::Receiver<Option<Uuid>>,
        shutdown: &CancellationToken,
    ) {
        let mut quiet = self.quiet.clone();
        while !shutdown.is_cancelled() {
            if !until(quiet.as_mut(), false, shutdown).await {
                return;
            }
            let stop = shutdown.child_token();
            let mut tasks = JoinSet::new();
            if let Some(link) = link {
                self.consume_messages(&mut tasks, link, topology, &stop);
            }
            self.consume_jobs(&mut tasks, worker, &stop);
            until(quiet.as_mut(), true, shutdown).await;
            stop.cancel();
            drained(&mut tasks, self.config.shutdown_deadline).await;
        }
    }

    fn stage(&self, pipeline: &Arc<dyn Pipeline>, lane: Lane) -> Stage {
        Stage {
            pipeline: Arc::clone(pipeline),
            pool: self.pool.clone(),
            lane,
            notifier: self.notifier.clone(),
            timeout: self.config.policy.timeout,
            parts: self.config.concurrency.clamp(1, 4),
        }
    }

    fn consume_messages(
        &self,
        tasks: &mut JoinSet<()>,
        link: &Link,
        topology: &Arc<Topology>,
        shutdown: &CancellationToken,
    ) {
        let policy = self.config.policy;
        for pipeline in &self.pipelines {
            let source = MessageSource {
                link: link.clone(),
                queue: topology.queue(pipeline.name()),
                prefetch: self.config.prefetch,
                max_batch: pipeline.max_batch().clamp(1, usize::from(self.config.prefetch)),
                linger: self.config.linger,
            };
            let consumer = Arc::new(AmqpConsumer {
                stage: self.stage(pipeline, Lane::Amqp),
                policy,
                stop: shutdown.clone(),
            });
            tasks.spawn(drive(
                format!("events.{}.amqp", pipeline.name()),
                move |stop| {
                    let source = source.clone();
                    Feed::start(stop, |out, stop| source.run(out, stop))
                },
                move |batch| Arc::clone(&consumer).consume(batch),
                shutdown.clone(),
            ));
        }
        let source = MessageSource {
            link: link.clone(),
            queue: topology.dead(),
            prefetch: DEAD_BATCH,
            max_batch: usize::from(DEAD_BATCH),
            linger: self.config.linger,
        };
        let consumer = Arc::new(DeadConsumer {
            pool: self.pool.clone(),
            topology: Arc::clone(topology),
            policy,
            stop: shutdown.clone(),
        });
        tasks.spawn(drive(
            "events.dead".to_owned(),
            move |stop| {
                let source = source.clone();
                Feed::start(stop, |out, stop| source.run(out, stop))
            },
            move |batch| Arc::clone(&consumer).consume(batch),
            shutdown.clone(),
        ));
    }

    fn consume_jobs(
        &self,
        tasks: &mut JoinSet<()>,
        worker: &watch::Receiver<Option<Uuid>>,
        shutdown: &CancellationToken,
    ) {
        for pipeline in &self.pipelines {
            let source = JobSource {
                pool: self.pool.clone(),
                pipeline: pipeline.name(),
                max_batch: pipeline.max_batch().clamp(1, usize::from(self.config.prefetch)),
                poll: self.config.poll,
                worker: worker.clone(),
                hints: self.notifier.as_ref().map(|notifier| notifier.hints().clone()),
            };
            let consumer = Arc::new(JobConsumer {
                stage: self.stage(pipeline, Lane::Postgres),
                policy: self.config.policy,
                stop: shutdown.clone(),
            });
            tasks.spawn(drive(
                format!("events.{}.postgres", pipeline.name()),
                move |stop| {
                    let source = source.clone();
                    Feed::start(stop, |out, stop| source.run(out, stop))
                },
                move |batch| Arc::clone(&consumer).consume(batch),
                shutdown.clone(),
            ));
        }
    }
}

/// Waits until the process is quiet, or is not. `false` if the end came first.
async fn until(
    quiet: Option<&mut watch::Receiver<Option<String>>>,
    wanted: bool,
    shutdown: &CancellationToken,
) -> bool {
    let reached = async {
        match quiet {
            Some(quiet) => quiet.wait_for(|quiet| quiet.is_some() == wanted).await.is_ok(),
            None => !wanted,
        }
    };
    match shutdown.run_until_cancelled(reached).await {
        Some(true) => true,
        // Nobody is there to say so any more, or ever was.
        Some(false) => {
            shutdown.cancelled().await;
            false
        }
        None => false,
    }
}

/// Lets batches in hand end.
async fn drained(tasks: &mut JoinSet<()>, deadline: Duration) {
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(deadline, all).await.is_err() {
        tracing::warn!(?deadline, "event batches in hand took too long, others will handle them");
    }
    tasks.shutdown().await;
}
