//! Rows that are written together.

use super::csv::FieldError;

/// Bytes of rows in a chunk; one row more may be in it.
const MOST_BYTES: usize = 1024 * 1024;

/// A row that was read: what it says, or what is wrong with it; a row of blank cells says nothing and is not wrong.
#[derive(Debug)]
pub struct Line<R> {
    /// As a spreadsheet counts.
    pub number: i64,
    /// Where the next row begins.
    pub end: i64,
    /// Its size in bytes.
    pub size: usize,
    /// What it says.
    pub content: Result<R, Vec<FieldError>>,
}

/// Rows in the order of the file.
#[derive(Debug)]
pub struct Chunk<R> {
    lines: Vec<Line<R>>,
    bytes: usize,
}

impl<R> Default for Chunk<R> {
    fn default() -> Self {
        Self { lines: Vec::new(), bytes: 0 }
    }
}

impl<R> Chunk<R> {
    /// Adds a row, if there is one.
    pub fn extend(&mut self, line: Option<Line<R>>) {
        if let Some(line) = line {
            self.bytes += line.size;
            self.lines.push(line);
        }
    }

    /// Whether it should be written.
    pub fn is_full(&self, most_rows: usize) -> bool {
        self.lines.len() >= most_rows || self.bytes >= MOST_BYTES
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.bytes = 0;
    }

    /// The rows.
    pub fn lines(&self) -> &[Line<R>] {
        &self.lines
    }
}
