//! The category tree. The database refuses cycles (`categories_no_cycle`) and deleting what is in use.

use chrono::{DateTime, Utc};
use diesel::{
    AsChangeset, ExpressionMethods, OptionalExtension, QueryDsl, QueryResult, Queryable, QueryableByName,
    Selectable, SelectableHelper,
    sql_types::{BigInt, Nullable, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, new_id, sql, tables::categories};

/// A node of the tree.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = categories, check_for_backend(diesel::pg::Pg))]
pub struct CategoryRow {
    /// Id.
    pub id: Uuid,
    /// Above it; none for a root.
    pub parent_id: Option<Uuid>,
    /// Unique name in URLs.
    pub slug: String,
    /// Name.
    pub name: String,
    /// Place among its siblings.
    pub position: i32,
    /// Image.
    pub image_url: Option<String>,
    /// Whether it, and everything below it, shows.
    pub active: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A category as others mention it.
#[derive(Debug, Clone, QueryableByName)]
pub struct CategoryRef {
    /// Id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Unique name in URLs.
    #[diesel(sql_type = Text)]
    pub slug: String,
    /// Name.
    #[diesel(sql_type = Text)]
    pub name: String,
}

/// A category to be made.
#[derive(Debug, Clone)]
pub struct NewCategory {
    /// Above it; none for a root.
    pub parent_id: Option<Uuid>,
    /// Unique name in URLs.
    pub slug: String,
    /// Name.
    pub name: String,
    /// Place among its siblings.
    pub position: i32,
    /// Image.
    pub image_url: Option<String>,
    /// Whether it shows.
    pub active: bool,
}

/// What changes; the inner `None` clears.
#[derive(Debug, Clone, Default, AsChangeset)]
#[diesel(table_name = categories)]
pub struct CategoryChange {
    /// Above it.
    pub parent_id: Option<Option<Uuid>>,
    /// Unique name in URLs.
    pub slug: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Place among its siblings.
    pub position: Option<i32>,
    /// Image.
    pub image_url: Option<Option<String>>,
    /// Whether it shows.
    pub active: Option<bool>,
}

/// The whole tree as rows, siblings in their order. A shop has hundreds of categories, not millions.
pub async fn all(conn: &mut Conn, active_only: bool) -> QueryResult<Vec<CategoryRow>> {
    let mut query = categories::table.into_boxed();
    if active_only {
        query = query.filter(categories::active.eq(true));
    }
    query
        .order((categories::position, categories::name, categories::id))
        .limit(10_000)
        .select(CategoryRow::as_select())
        .load(conn)
        .await
}

/// One by its slug.
pub async fn by_slug(conn: &mut Conn, slug: &str) -> QueryResult<Option<CategoryRow>> {
    categories::table
        .filter(categories::slug.eq(slug))
        .select(CategoryRow::as_select())
        .first(conn)
        .await
        .optional()
}

/// One by its id.
pub async fn by_id(conn: &mut Conn, id: Uuid) -> QueryResult<Option<CategoryRow>> {
    categories::table.find(id).select(CategoryRow::as_select()).first(conn).await.optional()
}

/// One by its id, locked until the transaction ends, so that those who change it take turns.
pub async fn lock(conn: &mut Conn, id: Uuid) -> QueryResult<Option<CategoryRow>> {
    categories::table
        .find(id)
        .select(CategoryRow::as_select())
        .for_no_key_update()
        .first(conn)
        .await
        .optional()
}

/// The path from the root to the category, which is last.
pub async fn path(conn: &mut Conn, id: Uuid) -> QueryResult<Vec<CategoryRef>> {
    sql("with recursive up(id, slug, name, parent_id, depth) as (
             select id, slug, name, parent_id, 0 from categories where id = $1
             union all
             select c.id, c.slug, c.name, c.parent_id, up.depth + 1 from categories c join up on c.id = up.parent_id)
         select id, slug, name from up order by depth desc")
    .bind::<SqlUuid, _>(id)
    .load(conn)
    .await
}

#[derive(QueryableByName)]
struct Node {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// The ids of the category and of everything below it that shows; empty if there is no such category.
pub async fn subtree(conn: &mut Conn, slug: &str) -> QueryResult<Vec<Uuid>> {
    let nodes: Vec<Node> = sql("with recursive down(id) as (
             select id from categories where slug = $1 and active
             union all
             select c.id from categories c join down on c.parent_id = down.id where c.active)
         select id from down")
    .bind::<Text, _>(slug)
    .load(conn)
    .await?;
    Ok(nodes.into_iter().map(|node| node.id).collect())
}

/// Makes a category; none if the slug is taken.
pub async fn insert(conn: &mut Conn, new: &NewCategory) -> QueryResult<Option<CategoryRow>> {
    diesel::insert_into(categories::table)
        .values((
            categories::id.eq(new_id()),
            categories::parent_id.eq(new.parent_id),
            categories::slug.eq(&new.slug),
            categories::name.eq(&new.name),
            categories::position.eq(new.position),
            categories::image_url.eq(&new.image_url),
            categories::active.eq(new.active),
        ))
        .on_conflict(categories::slug)
        .do_nothing()
        .returning(CategoryRow::as_returning())
        .get_result(conn)
        .await
        .optional()
}

/// Changes a category; none if there is no such.
pub async fn update(conn: &mut Conn, id: Uuid, change: &CategoryChange) -> QueryResult<Option<CategoryRow>> {
    diesel::update(categories::table.find(id))
        .set((change, categories::updated_at.eq(diesel::dsl::now)))
        .returning(CategoryRow::as_returning())
        .get_result(conn)
        .await
        .optional()
}

/// What stands in the way of deleting a category.
#[derive(Debug, Clone, Copy, QueryableByName)]
pub struct InUse {
    /// Categories right below it.
    #[diesel(sql_type = BigInt)]
    pub children: i64,
    /// Products in it.
    #[diesel(sql_type = BigInt)]
    pub products: i64,
}

/// See [`InUse`].
pub async fn in_use(conn: &mut Conn, id: Uuid) -> QueryResult<InUse> {
    sql("select (select count(*) from categories where parent_id = $1) as children,
                (select count(*) from product_categories where category_id = $1) as products")
    .bind::<SqlUuid, _>(id)
    .get_result(conn)
    .await
}

/// Deletes a category; false if there is no such. Foreign keys refuse one in use.
pub async fn delete(conn: &mut Conn, id: Uuid) -> QueryResult<bool> {
    Ok(diesel::delete(categories::table.find(id)).execute(conn).await? == 1)
}

#[derive(QueryableByName)]
struct Missing {
    #[diesel(sql_type = Nullable<SqlUuid>)]
    id: Option<Uuid>,
}

/// Those of `ids` that are no categories.
pub async fn missing(conn: &mut Conn, ids: &[Uuid]) -> QueryResult<Vec<Uuid>> {
    let rows: Vec<Missing> = sql("select t.id from unnest($1) as t(id)
         where not exists (select 1 from categories c where c.id = t.id)")
    .bind::<diesel::sql_types::Array<SqlUuid>, _>(ids)
    .load(conn)
    .await?;
    Ok(rows.into_iter().filter_map(|row| row.id).collect())
}
