//! The fields of a row, and typed access to them by column.

use waybill_schema::imports::RowError;

use super::header::Header;

/// Characters of a bad value that a report keeps.
const LONGEST_VALUE: usize = 200;

/// The fields of a row as bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Record {
    /// Reads a row, which is without its line end and has no quote open.
    pub fn read(&mut self, row: &[u8], delimiter: u8) {
        let mut reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        // Unescaping only shortens.
        self.bytes.resize(row.len() + 1, 0);
        self.ends.clear();
        let (mut read, mut written, mut ends) = (0, 0, [0_usize; 64]);
        loop {
            let (result, consumed, wrote, ended) =
                reader.read_record(&row[read..], &mut self.bytes[written..], &mut ends);
            self.ends.extend_from_slice(&ends[..ended]);
            read += consumed;
            written += wrote;
            match result {
                csv_core::ReadRecordResult::Record | csv_core::ReadRecordResult::End => break,
                csv_core::ReadRecordResult::OutputFull => self.bytes.resize(written + row.len() + 1, 0),
                csv_core::ReadRecordResult::InputEmpty | csv_core::ReadRecordResult::OutputEndsFull => {}
            }
        }
        self.bytes.truncate(written);
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// A field's bytes.
    pub fn get(&self, place: usize) -> Option<&[u8]> {
        let start = if place == 0 { 0 } else { *self.ends.get(place - 1)? };
        self.bytes.get(start..*self.ends.get(place)?)
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The column.
    pub field: String,
    /// What stands there, shortened.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FieldError {
    /// An error about a value.
    pub fn new(field: impl Into<String>, value: &str, reason: impl Into<String>) -> Self {
        // Postgres does not keep NUL.
        let value = value.chars().filter(|c| *c != '\0').take(LONGEST_VALUE).collect();
        Self { field: field.into(), value, reason: reason.into() }
    }

    /// The same with the number of its row.
    pub fn at(self, row_number: i64) -> RowError {
        RowError { row_number, field: self.field, value: self.value, reason: self.reason }
    }
}

/// A row's cells by column; collects what is wrong with them.
pub struct Cells<'a> {
    header: &'a Header,
    record: &'a Record,
    errors: Vec<FieldError>,
}

impl<'a> Cells<'a> {
    /// The cells of a record, which must have as many as the header has columns; blank ones at its end may be too many.
    pub fn new(header: &'a Header, record: &'a Record) -> Result<Self, FieldError> {
        let width = header.width();
        let blank = |place: usize| record.get(place).is_none_or(|field| field.trim_ascii().is_empty());
        if record.len() < width || (width..record.len()).any(|place| !blank(place)) {
            let reason = format!("has {} columns where the header has {width}", record.len());
            let first = record.get(0).map(String::from_utf8_lossy).unwrap_or_default();
            return Err(FieldError::new("row", &first, reason));
        }
        Ok(Self { header, record, errors: Vec::new() })
    }

    /// Whether every cell is blank.
    pub fn all_blank(&self) -> bool {
        (0..self.record.len()).all(|place| self.record.get(place).is_none_or(|f| f.trim_ascii().is_empty()))
    }

    /// A cell without the white space around it: none if the file has no such column, an empty text for a blank cell.
    /// Bytes that are no UTF-8 are an error of the row: guessing the encoding would put wrong letters on sale.
    pub fn text(&mut self, column: &str) -> Option<&'a str> {
        let place = self.header.place(column)?;
        let field = self.record.get(place).unwrap_or_default();
        let Ok(text) = std::str::from_utf8(field) else {
            let lossy = String::from_utf8_lossy(field);
            self.wrong(column, lossy.trim(), "is not UTF-8: save the file as UTF-8");
            return Some("");
        };
        Some(text.trim())
    }

    /// A cell that must not be blank.
    pub fn required(&mut self, column: &str) -> &'a str {
        let before = self.errors.len();
        let text = self.text(column).unwrap_or_default();
        if text.is_empty() && self.errors.len() == before {
            self.wrong(column, "", "must not be blank");
        }
        text
    }

    /// The columns that begin with `prefix`, in their order.
    pub fn columns_with_prefix(&self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.header.with_prefix(prefix)
    }

    /// A text of at most `most` characters on one line.
    pub fn line(&mut self, column: &str, text: &'a str, most: usize) -> String {
        if text.chars().count() > most {
            self.wrong(column, text, format!("is longer than {most} characters"));
        } else if text.chars().any(char::is_control) {
            self.wrong(column, text, "contains control characters");
        }
        text.to_owned()
    }

    /// Parses a text; what is wrong is the error's own words.
    pub fn parse<T, E: std::fmt::Display>(
        &mut self,
        column: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(column, text, error.to_string());
                None
            }
        }
    }

    /// Notes that a cell cannot be used; the first note about a cell counts.
    pub fn wrong(&mut self, column: &str, value: &str, reason: impl Into<String>) {
        if !self.errors.iter().any(|error| error.field == column) {
            self.errors.push(FieldError::new(column, value, reason));
        }
    }

    /// What was wrong; `row` if nothing was.
    pub fn finish<T>(self, row: Option<T>) -> Result<T, Vec<FieldError>> {
        match row {
            Some(row) if self.errors.is_empty() => Ok(row),
            _ => Err(self.errors),
        }
    }
}
