//! Which products are indexed anew: all, or those of a category and of everything below it.

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Nullable, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, sql};

// Whether it shows or not: a category that shows again must not have to be indexed first.
macro_rules! in_scope {
    () => {
        "with recursive below(id) as (
             select id from categories where id = $1
             union
             select c.id from categories c join below b on c.parent_id = b.id)
         select p.id from products p
         where ($1::uuid is null or exists (
                   select from product_categories c where c.product_id = p.id and c.category_id in (select id from below)))"
    };
}

#[derive(QueryableByName)]
struct Product {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// The next products of a scope in the order of their ids, after the one with the id `after`.
pub async fn next(
    conn: &mut Conn,
    category_id: Option<Uuid>,
    after: Option<Uuid>,
    limit: i64,
) -> QueryResult<Vec<Uuid>> {
    let rows: Vec<Product> =
        sql(concat!(in_scope!(), " and ($2::uuid is null or p.id > $2) order by p.id limit $3"))
            .bind::<Nullable<SqlUuid>, _>(category_id)
            .bind::<Nullable<SqlUuid>, _>(after)
            .bind::<BigInt, _>(limit)
            .load(conn)
            .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// How many products a scope has.
pub async fn count(conn: &mut Conn, category_id: Option<Uuid>) -> QueryResult<i64> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        products: i64,
    }
    let count: Count = sql(concat!("select count(*) as products from (", in_scope!(), ") scope"))
        .bind::<Nullable<SqlUuid>, _>(category_id)
        .get_result(conn)
        .await?;
    Ok(count.products)
}
