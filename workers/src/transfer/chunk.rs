//! Rows that are written together.

use waybill_schema::imports::ImportRow;

use super::csv::{FieldError, Row};

/// Bytes of rows in a chunk; one row more may be in it.
const MOST_BYTES: usize = 1024 * 1024;

/// A row that was read: what it says, or what is wrong with it; a row of blank cells says nothing and is not wrong.
#[derive(Debug)]
pub struct Line<R> {
    /// As a spreadsheet counts.
    pub number: i64,
    /// Where the next row begins.
    pub end: i64,
    /// What of the file lies behind the row before it.
    pub passed: Passed,
    /// Its size in bytes.
    pub size: usize,
    /// What it says.
    pub content: Result<R, Vec<FieldError>>,
}

/// What of the uploaded file a row brings us past, itself included: blank rows before it, and for the first one the header,
/// are counted with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Rows.
    pub rows: i64,
    /// Bytes.
    pub bytes: i64,
}

/// A place in the uploaded file, behind a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The row's number.
    pub number: i64,
    /// Where the next one begins.
    pub end: i64,
}

impl Place {
    /// Where an import goes on.
    pub fn of(import: &ImportRow) -> Self {
        // Rows are counted with blank ones, so the number follows from what is done. The header is row 1.
        Self { number: import.rows_done + 1, end: import.byte_offset }
    }

    /// Goes behind a row, and says what lies between.
    pub fn pass(&mut self, row: &Row) -> Passed {
        let passed = Passed { rows: row.number - self.number, bytes: row.end - self.end };
        *self = Self { number: row.number, end: row.end };
        passed
    }
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
