//! Pipelines: who reacts to events.

use async_trait::async_trait;
use waybill_schema::{Conn, Pool};

use crate::{contract::Failure, emit::EventEnvelope};

/// Why a pipeline could not handle a batch. The runtime then tries its events one by one and parks those that fail.
pub type PipelineError = Failure;

/// Reacts to events, in batches, on whichever lane they come.
///
/// The runtime drops what the inbox has already seen, calls [`prepare`](Self::prepare) with no transaction open, then
/// [`apply`](Self::apply) inside the transaction that writes the inbox rows, and acknowledges after its commit.
#[async_trait]
pub trait Pipeline: Send + Sync + 'static {
    /// The permanent name: of the broker's queue (`waybill.<name>`), the Postgres queue (`events.<name>`) and the inbox.
    fn name(&self) -> &'static str;

    /// The topics it reacts to, exactly as in [`crate::Event::TOPIC`].
    fn topics(&self) -> &'static [&'static str];

    /// The highest version of a topic's payload that it reads; a higher one waits for a worker that does.
    fn reads(&self, topic: &str) -> i16 {
        crate::events::version(topic)
    }

    /// Events handled together at most.
    fn max_batch(&self) -> usize {
        200
    }

    /// Outside effects that may be repeated without harm (a search index call): no transaction is open here.
    async fn prepare(&self, _batch: &[EventEnvelope], _pool: &Pool) -> Result<(), PipelineError> {
        Ok(())
    }

    /// Effects on the database (and jobs enqueued) that happen exactly once: they commit with the inbox rows.
    async fn apply(&self, batch: &[EventEnvelope], conn: &mut Conn) -> Result<(), PipelineError>;
}
