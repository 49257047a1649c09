//! Searching `product_search`: full text first, trigrams where that finds nothing.

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, BigInt, Bool, Double, Nullable, Numeric, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::{Conn, catalogue::listing::Filter, sql};

/// A product that was found, with how well it fits (larger is better).
#[derive(Debug, Clone, QueryableByName)]
pub struct Hit {
    /// The product.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// How well it fits.
    #[diesel(sql_type = Double)]
    pub score: f64,
}

/// Likeness of a word below which trigrams count it as another word. Postgres' default of 0.6 forgives one wrong letter in
/// eight; a shop's customers type worse than that.
const WORD_SIMILARITY: &str = "0.4";

macro_rules! filters {
    () => {
        " and s.status = 'active'
          and ($2::uuid[] is null or s.category_ids && $2)
          and ($3::text is null or lower(s.brand) = lower($3))
          and ($4::numeric is null or s.price_max >= $4)
          and ($5::numeric is null or s.price_min <= $5)
          and (not $6 or s.in_stock) "
    };
}

macro_rules! page {
    () => {
        ") found where $7::float8 is null or (score, id) < ($7, $8) order by score desc, id desc limit $9"
    };
}

/// Rank by words, with weights; the name that is searched for exactly comes first. Of a word that a good part of the shop
/// has, only so many are ranked: nobody pages further, and ranking 300,000 takes a third of a second.
const BY_WORDS: &str = concat!(
    "select id, score from (
         select m.product_id as id, ts_rank_cd(m.document, m.q)::float8 + (lower(m.name) = lower($1))::int as score
         from (select s.product_id, s.name, s.document, q
               from product_search s, websearch_to_tsquery('english', $1) q
               where s.document @@ q",
    filters!(),
    " limit 5000) m",
    page!()
);

const BY_LIKENESS: &str = concat!(
    "select id, score from (
         select s.product_id as id, word_similarity($1, s.words)::float8 as score
         from product_search s
         where $1 <% s.words",
    filters!(),
    page!()
);

/// Which of the two finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Method {
    /// Full text.
    #[serde(rename = "w")]
    Words,
    /// Trigrams.
    #[serde(rename = "t")]
    Likeness,
}

/// One page of hits, best first, after `after` (score and id of the last hit seen).
pub async fn hits(
    conn: &mut Conn,
    method: Method,
    text: &str,
    filter: &Filter,
    after: Option<(f64, Uuid)>,
    limit: i64,
) -> QueryResult<Vec<Hit>> {
    let statement = match method {
        Method::Words => BY_WORDS,
        Method::Likeness => {
            // For the session, not the transaction: every search on it sets the same value.
            sql("select set_config('pg_trgm.word_similarity_threshold', $1, false)")
                .bind::<Text, _>(WORD_SIMILARITY)
                .execute(conn)
                .await?;
            BY_LIKENESS
        }
    };
    sql(statement)
        .bind::<Text, _>(text)
        .bind::<Nullable<Array<SqlUuid>>, _>(filter.categories.as_deref())
        .bind::<Nullable<Text>, _>(filter.brand.as_deref())
        .bind::<Nullable<Numeric>, Option<Decimal>>(filter.price_min)
        .bind::<Nullable<Numeric>, Option<Decimal>>(filter.price_max)
        .bind::<Bool, _>(filter.in_stock)
        .bind::<Nullable<Double>, _>(after.map(|(score, _)| score))
        .bind::<Nullable<SqlUuid>, _>(after.map(|(_, id)| id))
        .bind::<BigInt, _>(limit)
        .load(conn)
        .await
}
