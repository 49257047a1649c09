//! The rows that could not be used, as a CSV file of any length.

use std::io;

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use poem::{Body, IntoResponse, Response, http::header};
use poem_openapi::{
    ApiResponse,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
};
use uuid::Uuid;
use waybill_schema::imports::{self, RowError};

use crate::{error::ApiResult, state::AppState};

/// Rows read from the database at a time.
const PAGE: i64 = 1_000;

/// 200 `text/csv`.
pub struct ErrorFile {
    state: AppState,
    import_id: Uuid,
}

impl ErrorFile {
    /// The errors of an import that exists.
    pub fn new(state: AppState, import_id: Uuid) -> Self {
        Self { state, import_id }
    }

    fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        // Where the next page starts; none after the last.
        let begin = Some((0_i64, String::new()));
        let header = stream::iter([Ok(Bytes::from_static(b"row,field,value,reason\r\n"))]);
        let pages = stream::try_unfold(begin, move |after| {
            let (state, import_id) = (self.state.clone(), self.import_id);
            async move {
                let Some(after) = after else { return Ok(None) };
                let rows = page(&state, import_id, &after).await.map_err(|error| {
                    // The head of the answer is out already: what is left is to break off.
                    error.log();
                    io::Error::other("the rest could not be read")
                })?;
                let more = i64::try_from(rows.len()).is_ok_and(|count| count == PAGE);
                let next = rows.last().filter(|_| more).map(|row| (row.row_number, row.field.clone()));
                Ok::<_, io::Error>(Some((render(&rows)?, next)))
            }
        });
        futures::StreamExt::chain(
            header,
            pages.try_filter(|page| {
                let some = !page.is_empty();
                async move { some }
            }),
        )
    }
}

async fn page(state: &AppState, import_id: Uuid, after: &(i64, String)) -> ApiResult<Vec<RowError>> {
    let mut conn = state.conn().await?;
    Ok(imports::errors_after(&mut conn, import_id, (after.0, &after.1), PAGE).await?)
}

fn render(rows: &[RowError]) -> io::Result<Bytes> {
    let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        let number = row.row_number.to_string();
        let record = [number, harmless(&row.field), harmless(&row.value), harmless(&row.reason)];
        csv.write_record(&record)?;
    }
    Ok(csv.into_inner().map_err(csv::IntoInnerError::into_error)?.into())
}

/// Spreadsheets run a cell that begins like a formula, also when it came from somebody else's file. An apostrophe before it
/// makes it a text.
fn harmless(cell: &str) -> String {
    let begins = cell.trim_start_matches([' ', '\u{a0}']).chars().next();
    if matches!(begins, Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '|' | '%')) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}

impl IntoResponse for ErrorFile {
    fn into_response(self) -> Response {
        let disposition = format!("attachment; filename=\"import-{}-errors.csv\"", self.import_id);
        Response::builder()
            .content_type("text/csv; charset=utf-8")
            .header(header::CONTENT_DISPOSITION, disposition)
            .body(Body::from_bytes_stream(self.into_stream()))
    }
}

impl ApiResponse for ErrorFile {
    fn meta() -> MetaResponses {
        let schema = MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")));
        MetaResponses {
            responses: vec![MetaResponse {
                description: "Columns row (the header is row 1), field, value, reason",
                status: Some(200),
                status_range: None,
                content: vec![MetaMediaType { content_type: "text/csv", schema }],
                headers: vec![],
            }],
        }
    }

    fn register(_registry: &mut Registry) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        let row = |value: &str| RowError {
            row_number: 7,
            field: "price".to_owned(),
            value: value.to_owned(),
            reason: "is no price".to_owned(),
        };
        let values =
            ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "plain, \"quoted\"", "1.50"];
        let text = render(&values.map(row)).unwrap();
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_ref());
        let cells: Vec<String> = reader.records().map(|r| r.unwrap()[2].to_owned()).collect();
        for cell in &cells {
            assert!(!cell.trim().starts_with(['=', '+', '-', '@']), "{cell:?}");
        }
        assert_eq!(&cells[6..], ["plain, \"quoted\"", "1.50"]);
    }
}
