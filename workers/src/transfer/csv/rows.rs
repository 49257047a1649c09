//! Cuts a stream of bytes into rows.
//!
//! The csv crate reads files like these well, but does not say that a quote was left open: it takes the rest of the file,
//! however long, for one field. So rows are cut here, by the same grammar, and a row whose quote does not close is given
//! up at its first line end: it is one bad row, and the next line starts afresh. The fields of a row are read by
//! csv-core.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::record::Record;

/// Longest row in bytes; also how far a quote may be open.
pub const LONGEST_ROW: usize = 1024 * 1024;
const CHUNK: usize = 64 * 1024;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A row of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// As a spreadsheet counts, blank rows included: the first is 1.
    pub number: i64,
    /// Where the next row begins, in bytes from the beginning of the file.
    pub end: i64,
    /// Its fields, or why it has none.
    pub content: Result<Record, Unreadable>,
}

/// Why a row cannot be cut into fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A quote is opened and not closed.
    #[error("a quote is opened and not closed")]
    OpenQuote,
    /// Longer than [`LONGEST_ROW`].
    #[error("longer than 1 MiB")]
    TooLong,
}

/// Where the scan for the end of a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Plain,
    Quoted,
    /// Behind a quote inside quotes: the end of the quoted part, or the first half of an escaped quote.
    QuoteInQuoted,
}

/// What the buffer holds of the next row.
enum Found {
    /// A row: bytes of content, bytes with its line end.
    Row(usize, usize),
    /// Its end is not there yet.
    Part,
}

/// Yields rows one by one.
pub struct Rows<R> {
    input: R,
    delimiter: u8,
    buffer: Vec<u8>,
    /// Start of the next row in the buffer.
    start: usize,
    /// Bytes behind `start` that are scanned, and in which state the scan is.
    scanned: usize,
    state: State,
    /// Place of `start` in the file.
    offset: i64,
    /// Number of the next row.
    number: i64,
    at_end: bool,
    record: Record,
    /// Where the last row lies in the buffer, without its line end.
    last: std::ops::Range<usize>,
}

impl<R: AsyncRead + Unpin> Rows<R> {
    /// Rows from byte `offset` of a file on, which is the beginning of row `number`.
    pub fn new(input: R, delimiter: u8, offset: i64, number: i64) -> Self {
        Self {
            input,
            delimiter,
            buffer: Vec::with_capacity(CHUNK),
            start: 0,
            scanned: 0,
            state: State::FieldStart,
            offset,
            number,
            at_end: false,
            record: Record::default(),
            last: 0..0,
        }
    }

    /// The separator of fields: a comma, or, where the first line has none, the semicolon or tab that it has.
    pub async fn detect_delimiter(&mut self) -> std::io::Result<()> {
        while !self.at_end && self.buffer.len() < LONGEST_ROW && !self.buffer.contains(&b'\n') {
            self.fill().await?;
        }
        let line = self.buffer.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let has = |delimiter: u8| line.contains(&delimiter);
        self.delimiter = [b',', b';', b'\t'].into_iter().find(|delimiter| has(*delimiter)).unwrap_or(b',');
        Ok(())
    }

    /// The separator of fields.
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// The first bytes of the file, as far as they are read; empty for an empty file.
    pub fn beginning(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// The row that [`next`](Self::next) gave last, as it stands in the file, without its line end; empty for one that cannot
    /// be cut into fields.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.last.clone()]
    }

    /// The next row that is not blank; none at the end of the file.
    pub async fn next(&mut self) -> std::io::Result<Option<Row>> {
        loop {
            if self.offset == 0 && self.scanned == 0 {
                self.skip_bom().await?;
            }
            let (content, whole, problem) = match self.scan() {
                Found::Row(content, whole) => (content, whole, None),
                Found::Part if !self.at_end && self.scanned <= LONGEST_ROW => {
                    self.fill().await?;
                    continue;
                }
                Found::Part if self.scanned == 0 => return Ok(None),
                Found::Part if self.at_end && self.state != State::Quoted => {
                    (self.scanned, self.scanned, None)
                }
                Found::Part => {
                    let open = self.state == State::Quoted;
                    let whole = self.skip_line().await?;
                    (0, whole, Some(if open { Unreadable::OpenQuote } else { Unreadable::TooLong }))
                }
            };
            let bytes = &self.buffer[self.start..self.start + content];
            let blank = problem.is_none() && bytes.iter().all(|byte| *byte == b' ' || *byte == b'\t');
            let content = match problem {
                Some(problem) => Err(problem),
                None if blank => Ok(Record::default()),
                None => {
                    self.record.read(bytes, self.delimiter);
                    Ok(self.record.clone())
                }
            };
            let number = self.number;
            self.last = self.start..self.start + bytes.len();
            self.start += whole;
            self.offset += i64::try_from(whole).unwrap_or(i64::MAX);
            self.number += 1;
            self.scanned = 0;
            self.state = State::FieldStart;
            if !blank {
                return Ok(Some(Row { number, end: self.offset, content }));
            }
        }
    }

    /// Goes on with the scan for the end of the row.
    fn scan(&mut self) -> Found {
        let bytes = &self.buffer[self.start..];
        while let Some(byte) = bytes.get(self.scanned) {
            let line_end = matches!(byte, b'\n' | b'\r');
            self.state = match (self.state, *byte) {
                (State::Quoted, b'"') => State::QuoteInQuoted,
                (State::Quoted, _) | (State::FieldStart | State::QuoteInQuoted, b'"') => State::Quoted,
                _ if line_end => {
                    let content = self.scanned;
                    return match (byte, bytes.get(content + 1)) {
                        (b'\n', _) => Found::Row(content, content + 1),
                        (_, Some(b'\n')) => Found::Row(content, content + 2),
                        // The second half of the line end may still come.
                        (_, None) if !self.at_end => Found::Part,
                        (_, _) => Found::Row(content, content + 1),
                    };
                }
                (_, byte) if byte == self.delimiter => State::FieldStart,
                _ => State::Plain,
            };
            self.scanned += 1;
        }
        Found::Part
    }

    /// Finds the end of the line at which the row begins, dropping what is too long to keep; returns how much of the
    /// line is left in the buffer.
    async fn skip_line(&mut self) -> std::io::Result<usize> {
        loop {
            let bytes = &self.buffer[self.start..];
            if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                return Ok(end + 1);
            }
            if self.at_end {
                return Ok(bytes.len());
            }
            self.offset += i64::try_from(bytes.len()).unwrap_or(i64::MAX);
            self.start = self.buffer.len();
            self.fill().await?;
        }
    }

    async fn skip_bom(&mut self) -> std::io::Result<()> {
        while !self.at_end && self.buffer.len() < BOM.len() {
            self.fill().await?;
        }
        if self.start == 0 && self.buffer.starts_with(BOM) {
            self.start = BOM.len();
            self.offset = 3;
        }
        Ok(())
    }

    async fn fill(&mut self) -> std::io::Result<()> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK, 0);
        let read = self.input.read(&mut self.buffer[length..]).await?;
        self.buffer.truncate(length + read);
        self.at_end = read == 0;
        Ok(())
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
