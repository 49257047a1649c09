//! The test's own names at the broker, and raw access to them.

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};

/// Names the broker to test with.
const VARIABLE: &str = "WAYBILL_TEST_AMQP_URL";
/// Set to 1 to leave out what needs a broker.
const WITHOUT: &str = "WAYBILL_TEST_WITHOUT_BROKER";

/// The broker's URL; `None` if the tests are to do without, panics if nobody said so.
pub fn url() -> Option<String> {
    if std::env::var(WITHOUT).is_ok_and(|value| value == "1") {
        println!("skipped: needs a broker, and {WITHOUT} is set");
        return None;
    }
    let url = std::env::var(VARIABLE).unwrap_or_else(|_| {
        panic!(
            "{VARIABLE} names no RabbitMQ; `cargo xtask test` provides one, {WITHOUT}=1 leaves this test out"
        )
    });
    Some(url)
}

/// The `host:port` of a URL, and the URL with another one.
pub fn through(url: &str, address: std::net::SocketAddr) -> (String, String) {
    let start = url.find("://").unwrap() + 3;
    let start = url[start..].find('@').map_or(start, |at| start + at + 1);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    (url[start..end].to_owned(), format!("{}{address}{}", &url[..start], &url[end..]))
}

/// A test's names, deleted when it is dropped.
pub struct Names {
    pub url: String,
    pub exchange: String,
    pub prefix: String,
    pub queues: Vec<String>,
}

impl Names {
    pub fn new(url: String, pipelines: &[&str]) -> Self {
        let prefix = format!("test.{}", waybill_schema::new_id().simple());
        let mut queues: Vec<String> = pipelines.iter().map(|name| format!("{prefix}.{name}")).collect();
        queues.push(format!("{prefix}.dead"));
        Self { url, exchange: format!("{prefix}.events"), prefix, queues }
    }

    pub async fn channel(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    /// Publishes a body as it is.
    pub async fn publish(&self, topic: &str, seq: i64, body: &[u8]) {
        let (connection, channel) = self.channel().await;
        let mut headers = FieldTable::default();
        headers.insert("waybill-seq".into(), AMQPValue::LongLongInt(seq));
        channel
            .basic_publish(
                self.exchange.as_str().into(),
                topic.into(),
                BasicPublishOptions::default(),
                body,
                BasicProperties::default().with_headers(headers),
            )
            .await
            .unwrap()
            .await
            .unwrap();
        connection.close(200, "done".into()).await.unwrap();
    }

    /// Messages of a queue that wait to be delivered; `None` if there is no such queue.
    pub async fn waiting(&self, queue: &str) -> Option<u32> {
        let (connection, channel) = self.channel().await;
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let queue = channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
        let count = queue.ok().map(|queue| queue.message_count());
        let _ = connection.close(200, "done".into()).await;
        count
    }

    pub async fn delete_queue(&self, queue: &str) {
        let (connection, channel) = self.channel().await;
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        connection.close(200, "done".into()).await.unwrap();
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let (url, queues) = (self.url.clone(), self.queues.clone());
        let exchanges = [self.exchange.clone(), format!("{}.dead", self.prefix)];
        let deleted = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let Ok(connection) = Connection::connect(&url, ConnectionProperties::default()).await else {
                    return;
                };
                let Ok(channel) = connection.create_channel().await else { return };
                for queue in queues {
                    let _ = channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await;
                }
                for exchange in exchanges {
                    let _ = channel
                        .exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default())
                        .await;
                }
                let _ = connection.close(200, "done".into()).await;
            });
        });
        let _ = deleted.join();
    }
}
