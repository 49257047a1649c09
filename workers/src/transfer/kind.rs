//! What a file may hold: how its rows are read, and how they are written.

use std::{collections::HashMap, future::Future};

use diesel::QueryResult;
use uuid::Uuid;
use waybill_schema::{Conn, imports::run::RowOutcome};

use super::{
    csv::{Cells, Columns, FieldError},
    error::ChunkError,
    groups::Seen,
};

/// A kind of file.
pub trait Kind: Send + Sync + 'static {
    /// A row that can be used.
    type Row: Send + Sync;

    /// The columns.
    const COLUMNS: Columns;

    /// Reads a row, or says everything that is wrong with it.
    fn parse(&self, cells: Cells<'_>) -> Result<Self::Row, Vec<FieldError>>;

    /// What is known of rows by SKU, for [`group`](Self::group).
    fn known(
        &self,
        conn: &mut Conn,
        rows: &[&Self::Row],
    ) -> impl Future<Output = QueryResult<HashMap<String, String>>> + Send;

    /// The group of a row. Rows of one group are written in the order of the file; those of different groups may be written
    /// in any order, with the same report and the same data in the end. To be asked of each row in the order of the file.
    fn group(&self, row: &Self::Row, known: &HashMap<String, String>, seen: &mut Seen) -> u64;

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
