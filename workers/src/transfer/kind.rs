//! What a file may hold: how its rows are read, and how they are written.

use std::future::Future;

use uuid::Uuid;
use waybill_schema::{Conn, imports::run::RowOutcome};

use super::{
    csv::{Cells, Columns, FieldError},
    error::ChunkError,
};

/// A kind of file.
pub trait Kind: Send + Sync + 'static {
    /// A row that can be used.
    type Row: Send + Sync;

    /// The columns.
    const COLUMNS: Columns;

    /// Reads a row, or says everything that is wrong with it.
    fn parse(&self, cells: Cells<'_>) -> Result<Self::Row, Vec<FieldError>>;

    /// Writes rows and emits their events in the transaction open on `conn`; one outcome per row, in their order.
    fn apply(
        &self,
        conn: &mut Conn,
        rows: &[&Self::Row],
        cause: Cause,
    ) -> impl Future<Output = Result<Vec<RowOutcome>, ChunkError>> + Send;
}

/// What the rows come from, for ledgers and trails.
#[derive(Debug, Clone, Copy)]
pub struct Cause {
    /// The import.
    pub import_id: Uuid,
    /// Its job.
    pub job_id: Uuid,
}
