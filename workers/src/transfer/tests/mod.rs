#![allow(clippy::unwrap_used, clippy::panic)]

mod crashes;
mod cutting;
mod dirt;
mod ended;
mod parts;
mod products;
mod served;
mod stock;

use std::sync::Arc;

use uuid::Uuid;
use waybill_jobs::{Enqueue, JobContext, JobResult, Outcome, enqueue_with, kinds::RunImport};
use waybill_schema::{
    imports::{self, ImportKind, ImportRow, NewImport, RowError},
    new_id,
};

use super::{Importer, importer};
use crate::testing::TestDatabase;

struct Setup {
    db: TestDatabase,
    importer: Arc<Importer>,
    folder: tempfile::TempDir,
}

impl Setup {
    async fn new(chunk_rows: usize) -> Self {
        Self::with(chunk_rows, |_| {}).await
    }

    async fn with(chunk_rows: usize, change: impl FnOnce(&mut Importer)) -> Self {
        let db = TestDatabase::new().await;
        let folder = tempfile::tempdir().unwrap();
        let services = db.services(&[("WAYBILL_FILES__URL", folder.path().to_str().unwrap())]);
        let mut importer = importer(&services, chunk_rows).unwrap();
        change(&mut importer);
        Self { db, importer: Arc::new(importer), folder }
    }

    async fn upload(&self, kind: ImportKind, content: &[u8]) -> ImportRow {
        let (id, job_id) = (new_id(), new_id());
        let object = format!("imports/{id}.csv");
        self.importer.files.put_bytes(&object, content.to_vec().into()).await.unwrap();
        let mut conn = self.db.conn().await;
        let new = NewImport {
            id,
            kind,
            filename: "file.csv".to_owned(),
            object,
            size_bytes: i64::try_from(content.len()).unwrap(),
            created_by: None,
            job_id,
        };
        let import = imports::create(&mut conn, &new).await.unwrap();
        let options = Enqueue { id: Some(job_id), ..Enqueue::default() };
        enqueue_with(&conn, &RunImport { import_id: id }, options).await.unwrap();
        import
    }

    async fn attempt(&self, import: &ImportRow, context: JobContext) -> JobResult {
        Arc::clone(&self.importer).run(RunImport { import_id: import.id }, context).await
    }

    /// Uploads and runs a file; the import as it ended.
    async fn import(&self, kind: ImportKind, content: impl AsRef<[u8]>) -> ImportRow {
        let import = self.upload(kind, content.as_ref()).await;
        let context = self.db.claim(import.job_id).await;
        let outcome = self.attempt(&import, context).await.unwrap();
        assert!(matches!(outcome, Outcome::Finished(_) | Outcome::Discard(_)), "{outcome:?}");
        self.find(import.id).await
    }

    async fn find(&self, id: Uuid) -> ImportRow {
        imports::find(&mut *self.db.conn().await, id).await.unwrap().unwrap()
    }

    async fn errors(&self, import: &ImportRow) -> Vec<String> {
        let errors =
            imports::errors_after(&mut *self.db.conn().await, import.id, (0, ""), 1_000).await.unwrap();
        let line = |RowError { row_number, field, value, reason }| {
            format!("{row_number} {field} {value:?} {reason}")
        };
        errors.into_iter().map(line).collect()
    }
}

/// done, created, updated, unchanged, failed.
fn counts(import: &ImportRow) -> [i64; 5] {
    [import.rows_done, import.rows_created, import.rows_updated, import.rows_unchanged, import.rows_failed]
}
