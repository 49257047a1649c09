//! Which products are indexed anew: all, or those of a category and of everything below it.

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, sql};

// Whether it shows or not: a category that shows again must not have to be indexed first.
macro_rules! below {
    ($rest:literal) => {
        concat!(
            "with recursive below(id) as (
                 select id from categories where id = $1
                 union
                 select c.id from categories c join below b on c.parent_id = b.id) ",
            $rest
        )
    };
}

#[derive(QueryableByName)]
struct Product {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// The next products of a scope in the order of their ids, after the one with the id `after`.
///
/// Of each category of the subtree as many as are wanted are read, so a page costs what its categories hold and not what the
/// shop does.
pub async fn next(
    conn: &mut Conn,
    category_id: Option<Uuid>,
    after: Option<Uuid>,
    limit: i64,
) -> QueryResult<Vec<Uuid>> {
    // No product has the nil id, and all come after it: a plain comparison begins where it should in the index.
    let after = after.unwrap_or_default();
    let rows: Vec<Product> = match category_id {
        None => {
            sql("select id from products where id > $1 order by id limit $2")
                .bind::<SqlUuid, _>(after)
                .bind::<BigInt, _>(limit)
                .load(conn)
                .await?
        }
        Some(category_id) => {
            sql(below!(
                "select p.product_id as id from below b cross join lateral (
                     select c.product_id from product_categories c
                     where c.category_id = b.id and c.product_id > $2 order by c.product_id limit $3) p
                 group by p.product_id order by p.product_id limit $3"
            ))
            .bind::<SqlUuid, _>(category_id)
            .bind::<SqlUuid, _>(after)
            .bind::<BigInt, _>(limit)
            .load(conn)
            .await?
        }
    };
    Ok(rows.into_iter().map(|row| row.id).collect())
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    products: i64,
}

/// How many products a scope has.
pub async fn count(conn: &mut Conn, category_id: Option<Uuid>) -> QueryResult<i64> {
    let count: Count = match category_id {
        None => sql("select count(*) as products from products").get_result(conn).await?,
        Some(category_id) => {
            sql(below!(
                "select count(distinct c.product_id) as products
                 from below b join product_categories c on c.category_id = b.id"
            ))
            .bind::<SqlUuid, _>(category_id)
            .get_result(conn)
            .await?
        }
    };
    Ok(count.products)
}
