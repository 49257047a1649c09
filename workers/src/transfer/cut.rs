//! `import.split`: the next stretch of a file into parts.
//!
//! Cut by what rows are about and not by where they stand: rows of one group (a SKU's stock, a product with its variants) go
//! into one part, in the order of the file, so that order within a group is kept by construction. Rows that cannot be used
//! are about nothing and go anywhere; every row keeps its number, under which it is reported.

use std::{collections::HashMap, sync::Arc, time::Duration};

use diesel_async::AsyncConnection as _;
use serde_json::json;
use tokio::io::AsyncRead;
use waybill_jobs::{Failure, JobContext, JobResult, Outcome, kinds::SplitImport};
use waybill_platform::files::FilesError;
use waybill_schema::imports::{self, ImportKind, ImportRow, parts};

use super::{
    chunk::Place,
    csv::{Header, Row, Rows},
    frames::Frame,
    groups::{Seen, hash, part},
    kind::Kind,
    parts::folder,
    pieces::Pieces,
    products::Products,
    run::{Importer, Stop, read_row},
    stock::Stock,
};

/// Rows of a stretch. What memory and space in the store the cutting takes is bounded by it; the next one is cut when this one
/// is in. So long that what workers wait for each other at its end does not count.
pub const STRETCH: usize = 250_000;
/// Rows whose groups are asked for together.
const TOGETHER: usize = 1_000;
/// And their bytes.
const BYTES_TOGETHER: usize = 1024 * 1024;

/// Rows on their way into parts.
pub(super) struct Cutter<'k, K: Kind> {
    kind: &'k K,
    header: &'k Header,
    pieces: Pieces,
    seen: Seen,
    waiting: Vec<(Frame, Option<K::Row>)>,
    bytes: usize,
    rows: usize,
}

impl<'k, K: Kind> Cutter<'k, K> {
    pub(super) fn new(kind: &'k K, header: &'k Header, pieces: Pieces) -> Self {
        let (seen, waiting) = (Seen::default(), Vec::new());
        Self { kind, header, pieces, seen, waiting, bytes: 0, rows: 0 }
    }

    /// Takes a row, given as read and as it stands in the file.
    pub(super) fn take(&mut self, row: &Row, bytes: &[u8], place: &mut Place) {
        let passed = place.pass(row);
        let content = row.content.as_ref().map(|_| bytes.to_vec()).map_err(|problem| *problem);
        self.bytes += bytes.len();
        self.rows += 1;
        let read = read_row(self.kind, self.header, row).ok();
        self.waiting.push((Frame { number: row.number, passed, content }, read));
    }

    /// Whether the rows taken should be put into their parts.
    fn is_full(&self) -> bool {
        self.waiting.len() >= TOGETHER || self.bytes >= BYTES_TOGETHER
    }

    /// What the rows taken since say.
    pub(super) fn waiting(&self) -> Vec<&K::Row> {
        self.waiting.iter().filter_map(|(_, row)| row.as_ref()).collect()
    }

    /// Puts them into their parts.
    pub(super) async fn put(&mut self, known: &HashMap<String, String>) -> Result<(), FilesError> {
        for (frame, row) in std::mem::take(&mut self.waiting) {
            let group = match &row {
                Some(row) => self.kind.group(row, known, &mut self.seen),
                None => hash(&frame.number.to_string()),
            };
            let part = part(group, self.pieces.parts());
            self.pieces.add(part, &frame).await?;
        }
        self.bytes = 0;
        Ok(())
    }

    /// Stores what is left.
    pub(super) async fn finish(self) -> Result<Vec<parts::PartRow>, FilesError> {
        self.pieces.finish().await
    }
}

impl Importer {
    /// Runs one attempt; one that fails is made again from the beginning of the stretch.
    pub async fn split(self: Arc<Self>, job: SplitImport, context: JobContext) -> JobResult {
        let import = imports::find(&mut *context.pool.get().await?, job.import_id).await?;
        let Some(import) = import.filter(|import| import.flow_id == context.flow_id) else {
            return Ok(Outcome::Discard("the import is no longer this workflow's".to_owned()));
        };
        let cut = match import.kind {
            ImportKind::Products => {
                let kind = Products { currency: self.currency };
                self.cut(&import, &kind, &job, &context).await
            }
            ImportKind::Stock => self.cut(&import, &Stock, &job, &context).await,
        };
        match cut {
            Ok(outcome) => Ok(outcome),
            Err(Stop::Interrupted) => {
                Ok(Outcome::Snooze { after: Duration::ZERO, reason: "interrupted".to_owned() })
            }
            Err(Stop::File(error)) => Err(Failure::permanent(error)),
            Err(Stop::Failed(failure)) => Err(failure),
        }
    }

    async fn cut<K: Kind>(
        &self,
        import: &ImportRow,
        kind: &K,
        job: &SplitImport,
        context: &JobContext,
    ) -> Result<Outcome, Stop> {
        let (header, rows) = self.source(import, &K::COLUMNS).await?;
        let parts = usize::try_from(job.parts).map_err(Failure::from)?;
        let folder = format!("{}/{}", folder(import.id, context.flow_id), context.claim);
        let pieces = Pieces::new(self.files.clone(), folder, parts);
        let mut cutter = Cutter::new(kind, &header, pieces);
        let at_end = self.fill(&mut cutter, rows, Place::of(import), context).await?;
        let rows = cutter.rows;
        let parts = cutter.finish().await?;
        crate::fail_point!("import.before_split");
        let mut conn = context.pool.get().await?;
        let finished = conn
            .transaction::<_, Failure, _>(async |conn| {
                parts::insert(conn, import.id, &parts).await?;
                context.finish(conn, Some(json!({ "rows": rows, "at_end": at_end }))).await
            })
            .await?;
        crate::fail_point!("import.after_split");
        Ok(Outcome::Finished(finished))
    }

    /// Takes rows until the stretch is full or the file is over; whether it is over.
    async fn fill<K: Kind, R: AsyncRead + Unpin>(
        &self,
        cutter: &mut Cutter<'_, K>,
        mut rows: Rows<R>,
        mut place: Place,
        context: &JobContext,
    ) -> Result<bool, Stop> {
        loop {
            let row = rows.next().await?;
            if let Some(row) = &row {
                cutter.take(row, rows.bytes(), &mut place);
            }
            let over = row.is_none() || cutter.rows >= self.stretch;
            if over || cutter.is_full() {
                let known = {
                    let mut conn = context.pool.get().await?;
                    cutter.kind.known(&mut conn, &cutter.waiting()).await?
                };
                cutter.put(&known).await?;
                if context.cancelled.is_cancelled() {
                    return Err(Stop::Interrupted);
                }
            }
            if over {
                return Ok(row.is_none());
            }
        }
    }
}
