#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Reads at most three bytes at a time, so that every boundary is crossed.
struct Drip<'a>(&'a [u8]);

impl AsyncRead for Drip<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let (now, later) = self.0.split_at(self.0.len().min(3));
        buffer.put_slice(now);
        self.0 = later;
        std::task::Poll::Ready(Ok(()))
    }
}

async fn collect(bytes: &[u8], offset: i64, number: i64) -> Vec<Row> {
    let from = usize::try_from(offset).unwrap();
    let mut rows = Rows::new(Drip(&bytes[from..]), b',', offset, number);
    let mut all = Vec::new();
    while let Some(row) = rows.next().await.unwrap() {
        all.push(row);
    }
    all
}

fn all(bytes: &[u8], offset: i64, number: i64) -> Vec<Row> {
    futures::executor::block_on(collect(bytes, offset, number))
}

fn fields(row: &Row) -> Vec<String> {
    let record = row.content.as_ref().unwrap();
    (0..record.len()).map(|place| String::from_utf8_lossy(record.get(place).unwrap()).into_owned()).collect()
}

#[test]
fn rows_know_their_number_and_end() {
    let rows = all(b"\xef\xbb\xbfa,b\r\n\r\n1,\"x\r\ny\"\"z\"\n   \n2,\n3", 0, 1);
    let seen: Vec<_> = rows.iter().map(|row| (row.number, row.end, fields(row))).collect();
    let text = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        seen,
        [
            (1, 8, text(&["a", "b"])),
            (3, 22, text(&["1", "x\r\ny\"z"])),
            (5, 29, text(&["2", ""])),
            (6, 30, text(&["3"])),
        ]
    );
    assert_eq!(all(b"", 0, 1), []);
    assert_eq!(all(b"\n\r\n\n", 0, 1), []);
}

#[test]
fn an_open_quote_costs_one_row() {
    let rows = all(b"a,b\n1,\"open\n2,x\n3,y\n", 0, 1);
    assert_eq!(rows.len(), 4);
    assert_eq!((rows[1].number, rows[1].content.clone()), (2, Err(Unreadable::OpenQuote)));
    assert_eq!((rows[2].number, fields(&rows[2])), (3, vec!["2".to_owned(), "x".to_owned()]));
    assert_eq!(rows[3].number, 4);
}

#[test]
fn a_row_without_end_is_dropped_without_being_kept() {
    let mut file = b"a,b\n".to_vec();
    file.extend(std::iter::repeat_n(b'x', 3 * LONGEST_ROW));
    file.extend_from_slice(b"\n1,2\n");
    let mut rows = Rows::new(file.as_slice(), b',', 0, 1);
    let mut seen = Vec::new();
    while let Some(row) = futures::executor::block_on(rows.next()).unwrap() {
        seen.push(row);
        assert!(rows.buffer.capacity() < 3 * LONGEST_ROW, "{}", rows.buffer.capacity());
    }
    assert_eq!(seen.len(), 3);
    assert_eq!((seen[1].number, seen[1].content.clone()), (2, Err(Unreadable::TooLong)));
    assert_eq!((seen[2].number, fields(&seen[2])), (3, vec!["1".to_owned(), "2".to_owned()]));
    assert_eq!(seen[2].end, i64::try_from(file.len()).unwrap());
}

#[test]
fn the_separator_is_found() {
    for (file, expected) in
        [("a;b\n1,2", b';'), ("a\tb", b'\t'), ("a,b;c", b','), ("a\n1;2", b','), ("", b',')]
    {
        let mut rows = Rows::new(file.as_bytes(), b',', 0, 1);
        futures::executor::block_on(rows.detect_delimiter()).unwrap();
        assert_eq!(rows.delimiter(), expected, "{file:?}");
    }
}

/// Text of what makes CSV hard.
fn csv_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just("a"),
            Just(","),
            Just("\""),
            Just("\"\""),
            Just("\n"),
            Just("\r\n"),
            Just("\r"),
            Just("é")
        ],
        0..40,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    /// Where no quote is left open we agree with the csv crate.
    #[test]
    fn agrees_with_the_csv_crate(text in csv_text()) {
        let rows = all(text.as_bytes(), 0, 1);
        prop_assume!(rows.iter().all(|row| row.content.is_ok()));
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let expected: Vec<Vec<String>> = reader
            .records()
            .map(|record| record.unwrap().iter().map(str::to_owned).collect())
            .collect();
        let seen: Vec<Vec<String>> = rows.iter().map(fields).collect();
        prop_assert_eq!(seen, expected);
    }

    /// Reading on from the end of any row gives the rows that follow it.
    #[test]
    fn reading_goes_on_anywhere(text in csv_text()) {
        let rows = all(text.as_bytes(), 0, 1);
        for (place, row) in rows.iter().enumerate() {
            let rest = all(text.as_bytes(), row.end, row.number + 1);
            prop_assert_eq!(&rest, &rows[place + 1..]);
        }
    }
}
