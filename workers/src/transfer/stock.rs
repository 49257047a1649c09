//! Stock files: one row a level, as it was counted.

use std::collections::HashMap;

use diesel::QueryResult;
use waybill_jobs::{
    emit_all,
    events::{StockDepleted, StockReplenished},
};
use waybill_schema::{
    Conn, Sku,
    imports::run::RowOutcome,
    inventory::sync::{self, SyncRow},
};

use super::{
    csv::{Cells, Columns, FieldError},
    error::ChunkError,
    groups::{Seen, hash},
    kind::{Cause, Kind},
    products::whole,
};

const LONGEST_CODE: usize = 64;
/// Sums over many locations stay far from the limits of a 32-bit number.
const MOST_PIECES: i32 = 1_000_000_000;

/// Absolute stock levels.
pub struct Stock;

impl Kind for Stock {
    type Row = SyncRow;

    const COLUMNS: Columns = Columns {
        required: &["sku", "on_hand"],
        optional: &["location", "reorder_level", "sequence"],
        prefix: None,
    };

    fn parse(&self, mut cells: Cells<'_>) -> Result<SyncRow, Vec<FieldError>> {
        let sku = cells.required("sku");
        let sku = (!sku.is_empty())
            .then(|| {
                let wrong = "has more than 64 characters, or control characters";
                cells.parse("sku", sku, |text| Sku::parse(text).map_err(|_| wrong))
            })
            .flatten();
        let on_hand = cells.required("on_hand");
        let pieces = |text: &str| whole(text, 0..=MOST_PIECES);
        let on_hand = (!on_hand.is_empty()).then(|| cells.parse("on_hand", on_hand, pieces)).flatten();
        let location = cells.text("location").filter(|text| !text.is_empty());
        let location = location.map(|text| cells.line("location", text, LONGEST_CODE));
        let reorder_level = cells.text("reorder_level").filter(|text| !text.is_empty());
        let reorder_level = reorder_level.and_then(|text| cells.parse("reorder_level", text, pieces));
        let sequence = cells.text("sequence").filter(|text| !text.is_empty());
        let sequence = sequence.and_then(|text| {
            let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number > 0);
            cells.parse("sequence", text, |text| number(text).ok_or("is not a whole number above 0"))
        });
        let row = match (sku, on_hand) {
            (Some(sku), Some(on_hand)) => Some(SyncRow { sku, location, on_hand, reorder_level, sequence }),
            _ => None,
        };
        cells.finish(row)
    }

    async fn known(&self, _: &mut Conn, _: &[&SyncRow]) -> QueryResult<HashMap<String, String>> {
        Ok(HashMap::new())
    }

    /// By SKU: whether a variant is sold out depends on its levels at all locations.
    fn group(&self, row: &SyncRow, _: &HashMap<String, String>, _: &mut Seen) -> u64 {
        hash(row.sku.as_str())
    }

    async fn apply(
        &self,
        conn: &mut Conn,
        rows: &[&SyncRow],
        cause: Cause,
    ) -> Result<Vec<RowOutcome>, ChunkError> {
        let report = sync::apply(conn, rows, &format!("import:{}", cause.import_id)).await?;
        let depleted: Vec<StockDepleted> = report.depleted.into_iter().map(Into::into).collect();
        let replenished: Vec<StockReplenished> = report.replenished.into_iter().map(Into::into).collect();
        emit_all(conn, &depleted, Some(cause.job_id)).await?;
        emit_all(conn, &replenished, Some(cause.job_id)).await?;
        Ok(report.outcomes)
    }
}
