//! Where in its table a row is: Postgres' `ctid`.

use std::io::Write as _;

use diesel::{
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    pg::{Pg, PgValue},
    query_builder::QueryId,
    serialize::{self, IsNull, Output, ToSql},
    sql_types::SqlType,
};

/// The SQL type `tid`.
#[derive(Debug, Clone, Copy, QueryId, SqlType)]
#[diesel(postgres_type(oid = 27, array_oid = 1010))]
pub struct TidSql;

/// A row's place, good until the row is written again. A hint to find it by: whoever uses one checks the id as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = TidSql)]
pub struct Tid {
    block: u32,
    /// From 1 within the block.
    line: u16,
}

impl Tid {
    /// No row is here.
    pub const UNKNOWN: Self = Self { block: 0, line: 0 };
}

impl FromSql<TidSql, Pg> for Tid {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let bytes: [u8; 6] = value.as_bytes().try_into()?;
        let [a, b, c, d, line @ ..] = bytes;
        Ok(Self { block: u32::from_be_bytes([a, b, c, d]), line: u16::from_be_bytes(line) })
    }
}

impl ToSql<TidSql, Pg> for Tid {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&self.block.to_be_bytes())?;
        out.write_all(&self.line.to_be_bytes())?;
        Ok(IsNull::No)
    }
}
