//! What exists at the broker: the exchange, a queue for each pipeline, and a queue for what the broker gave up.

use lapin::{
    Channel, Connection, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

use super::config::{EventsConfig, PipelineSpec};

/// Deliveries of a message that ended without an acknowledgement, after which the broker gives it to the dead queue: it
/// kills its consumers.
const DELIVERY_LIMIT: i32 = 5;

/// AMQP's code for something that exists, but otherwise than asked for.
const PRECONDITION_FAILED: u16 = 406;

/// Names and properties at the broker.
#[derive(Debug, Clone)]
pub(crate) struct Topology {
    /// Where events are published.
    pub exchange: String,
    prefix: String,
    max_length: Option<u32>,
    routes: Vec<PipelineSpec>,
}

impl Topology {
    pub(crate) fn new(config: &EventsConfig, routes: Vec<PipelineSpec>) -> Self {
        Self {
            exchange: config.exchange.clone(),
            prefix: config.prefix.clone(),
            max_length: config.max_length,
            routes,
        }
    }

    /// The queue of a pipeline.
    pub(crate) fn queue(&self, pipeline: &str) -> String {
        format!("{}.{pipeline}", self.prefix)
    }

    /// The queue, and the exchange before it, of messages that the broker gave up.
    pub(crate) fn dead(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    /// The pipeline of a queue.
    pub(crate) fn pipeline_of<'a>(&self, queue: &'a str) -> Option<&'a str> {
        queue.strip_prefix(&self.prefix)?.strip_prefix('.')
    }

    /// Declares everything. What exists as declared is left alone; what exists otherwise is used as it is.
    pub(crate) async fn declare(&self, connection: &Connection) -> lapin::Result<()> {
        let channel = connection.create_channel().await?;
        for (name, kind) in [(&self.exchange, ExchangeKind::Topic), (&self.dead(), ExchangeKind::Fanout)] {
            let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
            channel.exchange_declare(name.as_str().into(), kind, durable, FieldTable::default()).await?;
        }
        let dead = self.dead();
        let channel = declare_queue(connection, channel, &dead, quorum()).await?;
        channel
            .queue_bind(
                dead.as_str().into(),
                dead.as_str().into(),
                "".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
        let mut channel = channel;
        for route in &self.routes {
            let queue = self.queue(route.name);
            channel = declare_queue(connection, channel, &queue, self.pipeline_arguments()).await?;
            for topic in route.topics {
                channel
                    .queue_bind(
                        queue.as_str().into(),
                        self.exchange.as_str().into(),
                        (*topic).into(),
                        QueueBindOptions::default(),
                        FieldTable::default(),
                    )
                    .await?;
            }
        }
        channel.close(200, "declared".into()).await
    }

    /// Whether [`declare`](Self::declare) binds the topic to the pipeline's queue.
    pub(crate) fn declares(&self, pipeline: &str, topic: &str) -> bool {
        self.routes.iter().any(|route| route.name == pipeline && route.topics.contains(&topic))
    }

    /// Binds the topics of another release's pipelines, (pipeline, topic), so that nothing published from now on passes
    /// them by.
    pub(crate) async fn bind(
        &self,
        connection: &Connection,
        routes: &[(String, String)],
    ) -> lapin::Result<()> {
        let mut channel = connection.create_channel().await?;
        for (pipeline, topic) in routes {
            let queue = self.queue(pipeline);
            channel = declare_queue(connection, channel, &queue, self.pipeline_arguments()).await?;
            let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
            channel
                .queue_bind(
                    queue.as_str().into(),
                    self.exchange.as_str().into(),
                    topic.as_str().into(),
                    options,
                    arguments,
                )
                .await?;
        }
        channel.close(200, "bound".into()).await
    }

    fn pipeline_arguments(&self) -> FieldTable {
        let mut arguments = quorum();
        // One consumer at a time gets messages: two would handle events of one aggregate side by side.
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
        arguments.insert("x-dead-letter-exchange".into(), text(&self.dead()));
        // A message leaves its queue only when the dead queue has confirmed it; needs reject-publish.
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
        if let Some(limit) = self.max_length {
            arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(limit.into()));
        }
        arguments
    }
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// Declares a queue; answers with the channel to go on with, as the broker closes one whose declaration it refuses.
async fn declare_queue(
    connection: &Connection,
    channel: Channel,
    name: &str,
    arguments: FieldTable,
) -> lapin::Result<Channel> {
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    match channel.queue_declare(name.into(), durable, arguments).await {
        Ok(_) => Ok(channel),
        Err(error) if is_mismatch(&error) => {
            // A queue cannot be changed, and one with messages must not be dropped: an operator has to decide.
            tracing::warn!(queue = name, error = %error, "the queue exists with other properties, using it as it is");
            let channel = connection.create_channel().await?;
            let passive = QueueDeclareOptions { passive: true, ..Default::default() };
            channel.queue_declare(name.into(), passive, FieldTable::default()).await?;
            Ok(channel)
        }
        Err(error) => Err(error),
    }
}

fn is_mismatch(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(cause) if cause.get_id() == PRECONDITION_FAILED)
}
