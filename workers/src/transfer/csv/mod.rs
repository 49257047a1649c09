//! Reading CSV of any length in bounded memory, with the place of every row, so that reading may go on at any row.

mod header;
mod record;
mod rows;

pub use header::{Columns, Header, HeaderError};
pub use record::{Cells, FieldError, Record};
pub use rows::{LONGEST_ROW, Row, Rows, Unreadable};
