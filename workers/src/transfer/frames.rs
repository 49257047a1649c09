//! Rows in the files of a part: each as it stands in the uploaded file, with its number there.
//!
//! A frame is number, rows passed and bytes passed (8 bytes each), what it holds (1 byte), a length (4 bytes) and so many
//! bytes of the row; numbers are little-endian.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, BufReader};

use super::{
    chunk::Passed,
    csv::{LONGEST_ROW, Record, Row, Unreadable},
};

/// Bytes of a frame without its row.
const HEAD: i64 = 29;

const ROW: u8 = 0;
const OPEN_QUOTE: u8 = 1;
const TOO_LONG: u8 = 2;

/// A row on its way to a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its number in the uploaded file.
    pub number: i64,
    /// What it brings us past there.
    pub passed: Passed,
    /// Its bytes without the line end, or why it cannot be cut into fields.
    pub content: Result<Vec<u8>, Unreadable>,
}

impl Frame {
    /// Appends it to a file.
    pub fn write(&self, file: &mut Vec<u8>) {
        let (what, bytes): (u8, &[u8]) = match &self.content {
            Ok(bytes) => (ROW, bytes),
            Err(Unreadable::OpenQuote) => (OPEN_QUOTE, &[]),
            Err(Unreadable::TooLong) => (TOO_LONG, &[]),
        };
        for number in [self.number, self.passed.rows, self.passed.bytes] {
            file.extend_from_slice(&number.to_le_bytes());
        }
        file.push(what);
        // A row is shorter than LONGEST_ROW.
        file.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or_default().to_le_bytes());
        file.extend_from_slice(bytes);
    }
}

/// Reads frames one by one.
pub struct Frames<R> {
    input: BufReader<R>,
    delimiter: u8,
    /// Where the next frame begins, in the files of the part one behind the other.
    place: i64,
    record: Record,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Frames from `place` on, which `input` begins with.
    pub fn new(input: R, delimiter: u8, place: i64) -> Self {
        Self {
            input: BufReader::with_capacity(64 * 1024, input),
            delimiter,
            place,
            record: Record::default(),
        }
    }

    /// How far it has come, in the files of the part one behind the other.
    pub fn place(&self) -> i64 {
        self.place
    }

    /// The next row, which ends at a place in the files of the part, and what it brings us past in the uploaded file; none at
    /// the end.
    ///
    /// # Errors
    /// What reading fails with; also for a file that breaks off, or is none of ours.
    pub async fn next(&mut self) -> io::Result<Option<(Row, Passed)>> {
        let number = match self.input.read_i64_le().await {
            Ok(number) => number,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.input.buffer().is_empty() => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let passed = Passed { rows: self.input.read_i64_le().await?, bytes: self.input.read_i64_le().await? };
        let what = self.input.read_u8().await?;
        let length = usize::try_from(self.input.read_u32_le().await?).map_err(io::Error::other)?;
        // The scan for a row's end goes on to the end of what is read at a time.
        if length > 2 * LONGEST_ROW {
            return Err(io::Error::other("a frame is longer than any row"));
        }
        let mut bytes = vec![0; length];
        self.input.read_exact(&mut bytes).await?;
        self.place += HEAD + i64::try_from(length).map_err(io::Error::other)?;
        let content = match what {
            ROW => {
                self.record.read(&bytes, self.delimiter);
                Ok(self.record.clone())
            }
            OPEN_QUOTE => Err(Unreadable::OpenQuote),
            TOO_LONG => Err(Unreadable::TooLong),
            _ => return Err(io::Error::other("not a frame")),
        };
        Ok(Some((Row { number, end: self.place, content }, passed)))
    }
}
