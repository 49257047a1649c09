//! A test's own names at a broker that all tests share.

use lapin::{
    Connection, ConnectionProperties,
    options::{ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};

/// Ours, and one for a consumer that is none of ours.
const QUEUES: [&str; 5] = ["notifications", "webhooks", "indexing", "dead", CONSUMER];
const CONSUMER: &str = "consumer";

/// The `host:port` of a broker's URL, and the URL with another one.
pub fn through(url: &str, address: &str) -> (String, String) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let start = url[start..].find('@').map_or(start, |at| start + at + 1);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    (url[start..end].to_owned(), format!("{}{address}{}", &url[..start], &url[end..]))
}

/// An exchange whose name no other test has. Deleted, with its queues, when it goes.
pub struct Exchange {
    url: String,
    prefix: String,
}

impl Exchange {
    /// At the broker of `url`.
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), prefix: format!("test.{}", uuid::Uuid::now_v7().simple()) }
    }

    /// Where the broker is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The exchange's name; queues begin with what is before `.events`.
    pub fn name(&self) -> String {
        format!("{}.events", self.prefix)
    }

    /// The name of a queue for a consumer of the test's own; deleted with the others.
    pub fn consumer(&self) -> String {
        format!("{}.{CONSUMER}", self.prefix)
    }

    /// Messages that wait in the queue of a pipeline; none if there is no such queue.
    pub async fn waiting(&self, pipeline: &str) -> anyhow::Result<Option<u32>> {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let name = format!("{}.{pipeline}", self.prefix);
        let queue = channel.queue_declare(name.as_str().into(), passive, FieldTable::default()).await;
        Ok(queue.ok().map(|queue| queue.message_count()))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let (url, prefix) = (self.url.clone(), self.prefix.clone());
        // Drop cannot wait in the test's runtime, which may have one thread only.
        let dropped = std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            runtime.block_on(async {
                // A broker that is down, as some tests leave theirs, has nothing that matters any more.
                let deadline = std::time::Duration::from_secs(10);
                let _ = tokio::time::timeout(deadline, delete(&url, &prefix)).await;
            });
        });
        let _ = dropped.join();
    }
}

async fn delete(url: &str, prefix: &str) -> lapin::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for queue in QUEUES {
        let name = format!("{prefix}.{queue}");
        channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await?;
    }
    for exchange in ["events", "dead"] {
        let name = format!("{prefix}.{exchange}");
        channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await?;
    }
    connection.close(200, "done".into()).await
}
