//! The first row: which column is where.

use super::record::Record;

/// What a file may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// Columns without which nothing can be done.
    pub required: &'static [&'static str],
    /// Columns that may be missing.
    pub optional: &'static [&'static str],
    /// The beginning of columns that a file may have any number of.
    pub prefix: Option<&'static str>,
}

/// Why a file's first row is no header. Told to whoever uploaded it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Nothing in it.
    #[error("the file is empty; expected a header with {0}")]
    Empty(String),
    /// Something else than CSV.
    #[error("the file is {0}; save it as CSV in UTF-8")]
    NotCsv(&'static str),
    /// The first row cannot be read.
    #[error("the first row cannot be read: {0}")]
    Unreadable(String),
    /// Columns are missing.
    #[error("the header has no column {missing}; expected {expected}")]
    Missing {
        /// The missing ones.
        missing: String,
        /// All that are expected.
        expected: String,
    },
    /// Columns that mean nothing here; dropping them in silence could lose what somebody meant to import.
    #[error("the header has unknown columns: {unknown}; expected {expected}")]
    Unknown {
        /// The unknown ones.
        unknown: String,
        /// All that are expected.
        expected: String,
    },
    /// A column is there twice.
    #[error("the header has the column {0} twice")]
    Twice(String),
}

impl Columns {
    /// For people.
    pub fn expected(&self) -> String {
        let prefix = self.prefix.map(|prefix| format!("{prefix}*"));
        let optional: Vec<&str> = self.optional.iter().copied().chain(prefix.as_deref()).collect();
        format!("{} (required), {} (optional)", self.required.join(", "), optional.join(", "))
    }
}

/// The columns of a file by place. Names are compared in lower case, with blanks as underscores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    names: Vec<String>,
}

impl Header {
    /// Reads the first row.
    pub fn read(record: &Record, columns: &Columns) -> Result<Self, HeaderError> {
        let mut names = Vec::with_capacity(record.len());
        for place in 0..record.len() {
            let field = record.get(place).unwrap_or_default();
            let name = std::str::from_utf8(field)
                .map_err(|_| HeaderError::Unreadable("it is not UTF-8".to_owned()))?;
            names.push(name.trim().to_lowercase().replace([' ', '-'], "_"));
        }
        // A comma at the end of every line is common.
        while names.last().is_some_and(String::is_empty) {
            names.pop();
        }
        if names.is_empty() {
            return Err(HeaderError::Empty(columns.expected()));
        }
        let header = Self { names };
        let missing: Vec<&str> =
            columns.required.iter().copied().filter(|name| header.place(name).is_none()).collect();
        if !missing.is_empty() {
            return Err(HeaderError::Missing { missing: missing.join(", "), expected: columns.expected() });
        }
        let known = |name: &str| {
            columns.required.contains(&name)
                || columns.optional.contains(&name)
                || columns.prefix.is_some_and(|prefix| name.len() > prefix.len() && name.starts_with(prefix))
        };
        let unknown: Vec<String> =
            header.names.iter().filter(|name| !known(name)).map(|name| format!("{name:?}")).collect();
        if !unknown.is_empty() {
            return Err(HeaderError::Unknown { unknown: unknown.join(", "), expected: columns.expected() });
        }
        for (place, name) in header.names.iter().enumerate() {
            if header.names[..place].contains(name) {
                return Err(HeaderError::Twice(name.clone()));
            }
        }
        Ok(header)
    }

    /// Refuses files that are something else, by their first bytes.
    pub fn sniff(beginning: &[u8]) -> Result<(), HeaderError> {
        const KINDS: [(&[u8], &str); 5] = [
            (b"PK\x03\x04", "a ZIP archive or an Excel workbook"),
            (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
            (b"\x1f\x8b", "compressed with gzip"),
            (b"\xff\xfe", "in UTF-16"),
            (b"\xfe\xff", "in UTF-16"),
        ];
        match KINDS.iter().find(|(magic, _)| beginning.starts_with(magic)) {
            Some((_, what)) => Err(HeaderError::NotCsv(what)),
            None => Ok(()),
        }
    }

    /// The place of a column.
    pub fn place(&self, column: &str) -> Option<usize> {
        self.names.iter().position(|name| name == column)
    }

    /// How many columns there are.
    pub fn width(&self) -> usize {
        self.names.len()
    }

    /// The columns that begin with `prefix`, in their order.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.names.iter().map(String::as_str).filter(move |name| name.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: Columns =
        Columns { required: &["sku", "on_hand"], optional: &["location"], prefix: Some("option_") };

    fn header(line: &str) -> Result<Header, HeaderError> {
        let mut record = Record::default();
        record.read(line.as_bytes(), b',');
        Header::read(&record, &COLUMNS)
    }

    #[test]
    fn names_are_forgiven_their_form() {
        let header = header(" SKU ,On Hand,\"option-Size\",,");
        assert_eq!(header.as_ref().map(Header::width), Ok(3));
        assert_eq!(header.as_ref().map(|h| h.place("on_hand")), Ok(Some(1)));
        assert_eq!(
            header.as_ref().map(|h| h.with_prefix("option_").collect::<Vec<_>>()),
            Ok(vec!["option_size"])
        );
    }

    #[test]
    fn what_is_missing_unknown_or_double_is_named() {
        let text = |line| header(line).map_or_else(|error| error.to_string(), |_| "taken".to_owned());
        assert_eq!(
            text("location"),
            "the header has no column sku, on_hand; expected sku, on_hand (required), location, option_* (optional)"
        );
        assert!(text("sku,on_hand,colour,option_").contains("unknown columns: \"colour\", \"option_\""));
        assert_eq!(text("sku,on_hand,Sku"), "the header has the column sku twice");
        assert!(text(",,").starts_with("the file is empty; expected a header with sku"));
    }

    #[test]
    fn other_files_are_recognised() {
        assert!(Header::sniff(b"PK\x03\x04rest").is_err_and(|error| error.to_string().contains("Excel")));
        assert!(Header::sniff(b"\xff\xfes\0k\0").is_err());
        assert!(Header::sniff(b"\xef\xbb\xbfsku").is_ok());
        assert!(Header::sniff(b"").is_ok());
    }
}
