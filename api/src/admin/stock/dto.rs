use chrono::{DateTime, Utc};
use poem_openapi::Object;
use uuid::Uuid;
use waybill_schema::inventory::levels::{LedgerRow, StockRow};

/// A variant's stock at a location.
#[derive(Debug, Object)]
#[oai(rename = "StockLevel")]
pub struct StockDto {
    /// Stock keeping unit.
    pub sku: String,
    /// The variant.
    pub variant_id: Uuid,
    /// The location's code.
    pub location: String,
    /// Pieces on the shelf.
    pub on_hand: i32,
    /// Pieces promised to orders.
    pub reserved: i32,
    /// What is left of them: `on_hand - reserved`.
    pub available: i64,
    /// Below this somebody should order more.
    pub reorder_level: i32,
    /// Whether it may be sold beyond what is there.
    pub backorder: bool,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl From<StockRow> for StockDto {
    fn from(row: StockRow) -> Self {
        Self {
            sku: row.sku,
            variant_id: row.variant_id,
            location: row.location,
            on_hand: row.on_hand,
            reserved: row.reserved,
            available: i64::from(row.on_hand) - i64::from(row.reserved),
            reorder_level: row.reorder_level,
            backorder: row.backorder,
            updated_at: row.updated_at,
        }
    }
}

/// A move of stock. Per location, the moves sum to the level.
#[derive(Debug, Object)]
#[oai(rename = "StockMove")]
pub struct LedgerDto {
    /// Id.
    pub id: Uuid,
    /// The location's code.
    pub location: String,
    /// `purchase`, `sale`, `return`, `adjustment`, `reservation` or `release`.
    pub kind: String,
    /// Change of the pieces on the shelf.
    pub on_hand_delta: i32,
    /// Change of the pieces promised.
    pub reserved_delta: i32,
    /// The order it belongs to.
    pub order_id: Option<Uuid>,
    /// Why, for people.
    pub reference: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
}

impl From<LedgerRow> for LedgerDto {
    fn from(row: LedgerRow) -> Self {
        Self {
            id: row.id,
            location: row.location,
            kind: row.kind,
            on_hand_delta: row.on_hand_delta,
            reserved_delta: row.reserved_delta,
            order_id: row.order_id,
            reference: row.reference,
            created_at: row.created_at,
        }
    }
}

/// A correction: either `delta` or `on_hand`.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct AdjustStock {
    /// Stock keeping unit.
    pub sku: String,
    /// The location's code; the first location if missing.
    pub location: Option<String>,
    /// So many more, or fewer.
    pub delta: Option<i32>,
    /// So many are there, as somebody counted.
    pub on_hand: Option<i32>,
    /// Why, for the ledger.
    pub reason: String,
}

/// A correction that was made.
#[derive(Debug, Object)]
#[oai(rename = "StockAdjustment")]
pub struct AdjustedDto {
    /// The level now.
    #[oai(flatten)]
    pub level: StockDto,
    /// What the correction changed; 0 if the count was right.
    pub delta: i32,
}
