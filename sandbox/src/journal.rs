//! The optional journal: one JSON line per decided command, appended by one thread for many requests at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::model::Record;
use crate::refusal::Refusal;

/// Bytes that may wait for the disk; beyond them requests are refused before they take effect.
const MAX_WAITING: usize = 16 << 20;

/// The longest line read back; the longest written has some thousand bytes.
const MAX_LINE: u64 = 1 << 20;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened, read or written.
    #[error("journal {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another gateway has it open.
    #[error("journal {0} is in use by another gateway")]
    Locked(PathBuf),
    /// A line in the middle is damaged, or contradicts the lines before it.
    #[error("journal {path}, line {line}: {reason}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The writer could not be started.
    #[error("journal writer: {0}")]
    Thread(io::Error),
}

/// One line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// A command was decided.
    Operation(Record),
    /// Everything before was forgotten on request.
    Reset { at: DateTime<Utc> },
}

/// Opens the journal at `path` (made if it is not there) and tells its lines to `take`. A last line that a crash cut
/// short was never acknowledged to anybody and is cut off.
pub(crate) fn replay(
    path: &Path,
    mut take: impl FnMut(Line) -> Result<(), String>,
) -> Result<File, JournalError> {
    let failed = |source| JournalError::Io { path: path.to_owned(), source };
    let file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(failed)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => JournalError::Locked(path.to_owned()),
        TryLockError::Error(source) => failed(source),
    })?;
    let mut reader = BufReader::new(&file);
    let (mut text, mut line, mut whole) = (Vec::new(), 0, 0);
    loop {
        text.clear();
        let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut text).map_err(failed)?;
        if read == 0 {
            break;
        }
        if text.last() != Some(&b'\n') && read as u64 == MAX_LINE {
            let reason = format!("longer than {MAX_LINE} bytes");
            return Err(JournalError::Corrupt { path: path.to_owned(), line: line + 1, reason });
        }
        if text.last() != Some(&b'\n') {
            tracing::warn!(path = %path.display(), bytes = read, "journal ends in a torn line, cut off");
            file.set_len(whole).map_err(failed)?;
            break;
        }
        line += 1;
        whole += read as u64;
        let corrupt = |reason| JournalError::Corrupt { path: path.to_owned(), line, reason };
        let parsed = serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
        take(parsed).map_err(corrupt)?;
    }
    tracing::info!(path = %path.display(), lines = line, "journal replayed");
    Ok(file)
}

#[derive(Debug, Clone, Copy)]
struct Progress {
    written: u64,
    broken: bool,
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    appended: u64,
    closed: bool,
}

#[derive(Debug)]
struct Shared {
    buffer: Mutex<Buffer>,
    filled: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open journal with its writer.
#[derive(Debug)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Journal {
    /// Starts the writer on `file`.
    pub(crate) fn start(file: File, fsync: bool) -> Result<Self, JournalError> {
        let shared = Arc::new(Shared { buffer: Mutex::default(), filled: Condvar::new() });
        let (report, progress) = watch::channel(Progress { written: 0, broken: false });
        let writer = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || write_all(&file, fsync, &shared, &report)
            })
            .map_err(JournalError::Thread)?;
        Ok(Self { shared, progress, writer: Some(writer) })
    }

    /// Queues `line` and gives its position. Called under the state's lock, so that the order of lines is the order in
    /// which things happened.
    pub(crate) fn append(&self, line: &Line) -> Result<u64, Refusal> {
        let mut buffer = self.shared.lock();
        if self.is_broken() || buffer.closed || buffer.bytes.len() >= MAX_WAITING {
            return Err(Refusal::JournalUnavailable);
        }
        let before = buffer.bytes.len();
        if serde_json::to_writer(&mut buffer.bytes, line).is_err() {
            buffer.bytes.truncate(before);
            return Err(Refusal::Internal);
        }
        buffer.bytes.push(b'\n');
        buffer.appended += 1;
        self.shared.filled.notify_one();
        Ok(buffer.appended)
    }

    /// Waits until the line at `position` is written.
    pub(crate) async fn written(&self, position: u64) -> Result<(), Refusal> {
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|progress| progress.broken || progress.written >= position).await;
        match reached {
            Ok(progress) if progress.written >= position => Ok(()),
            _ => Err(Refusal::JournalUnavailable),
        }
    }

    /// Whether writing failed once. What was decided since may be lost, so nothing more is taken on.
    pub(crate) fn is_broken(&self) -> bool {
        self.progress.borrow().broken
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn write_all(mut file: &File, fsync: bool, shared: &Shared, report: &watch::Sender<Progress>) {
    let mut batch = Vec::new();
    loop {
        let appended = {
            let mut buffer = shared.lock();
            while buffer.bytes.is_empty() {
                if buffer.closed {
                    return;
                }
                buffer = shared.filled.wait(buffer).unwrap_or_else(PoisonError::into_inner);
            }
            batch.clear();
            std::mem::swap(&mut batch, &mut buffer.bytes);
            buffer.appended
        };
        let result = file.write_all(&batch).and_then(|()| if fsync { file.sync_data() } else { Ok(()) });
        if let Err(error) = result {
            tracing::error!(%error, "the journal cannot be written, no more operations are taken");
            report.send_modify(|progress| progress.broken = true);
            return;
        }
        report.send_modify(|progress| progress.written = appended);
    }
}
