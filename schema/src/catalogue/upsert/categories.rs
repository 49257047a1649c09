//! Categories by the names on the way from the root; those that are missing are made.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, Nullable, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Target, UpsertRow};
use crate::{Conn, catalogue::slugify, new_id, sql};

const FALLBACK: &str = "category";

#[derive(QueryableByName)]
struct Category {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    parent_id: Option<Uuid>,
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Slug {
    #[diesel(sql_type = Text)]
    slug: String,
}

#[derive(QueryableByName)]
struct Changed {
    #[diesel(sql_type = SqlUuid)]
    product_id: Uuid,
}

/// Puts products into exactly the categories that their rows name; returns those for which that changed anything. A
/// product whose row says nothing of categories stays where it is.
pub(super) async fn assign(
    conn: &mut Conn,
    telling: &[(&UpsertRow, &Target)],
) -> QueryResult<BTreeSet<Uuid>> {
    let named: Vec<(Uuid, &Vec<Vec<String>>)> = telling
        .iter()
        .filter_map(|(row, target)| Some((target.product_id, row.categories.as_ref()?)))
        .collect();
    if named.is_empty() {
        return Ok(BTreeSet::new());
    }
    let paths: BTreeSet<&[String]> =
        named.iter().flat_map(|(_, paths)| paths.iter().map(Vec::as_slice)).collect();
    let ids = find_or_make(conn, &paths).await?;
    let pairs: BTreeSet<(Uuid, Uuid)> = named
        .iter()
        .flat_map(|(product, paths)| paths.iter().map(|path| (*product, path)))
        .filter_map(|(product, path)| Some((product, *ids.get(path.as_slice())?)))
        .collect();
    let changed: Vec<Changed> = sql(
        "with wanted as (select * from unnest($2, $3) as t(product_id, category_id)),
         gone as (
             delete from product_categories c where c.product_id = any($1) and not exists (
                 select 1 from wanted w where w.product_id = c.product_id and w.category_id = c.category_id)
             returning c.product_id),
         added as (
             insert into product_categories (product_id, category_id) select product_id, category_id from wanted
             on conflict do nothing returning product_id)
         select product_id from gone union select product_id from added",
    )
    .bind::<Array<SqlUuid>, _>(named.iter().map(|(product, _)| *product).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(pairs.iter().map(|(product, _)| *product).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(pairs.iter().map(|(_, category)| *category).collect::<Vec<_>>())
    .load(conn)
    .await?;
    Ok(changed.into_iter().map(|changed| changed.product_id).collect())
}

/// The category at the end of each path. Names are compared without regard to case.
async fn find_or_make<'p>(
    conn: &mut Conn,
    paths: &BTreeSet<&'p [String]>,
) -> QueryResult<HashMap<&'p [String], Uuid>> {
    let found = places(load(conn, paths).await?, paths);
    if found.new.is_empty() {
        return Ok(found.ends);
    }
    // Many rows name the same few categories: who makes some takes turns with others who do, and looks again. Categories
    // are made once, so that waits are rare.
    sql("select pg_advisory_xact_lock(hashtext($1))")
        .bind::<Text, _>("waybill_catalogue_import")
        .execute(conn)
        .await?;
    let found = places(load(conn, paths).await?, paths);
    make(conn, &found.new).await?;
    Ok(found.ends)
}

async fn load(conn: &mut Conn, paths: &BTreeSet<&[String]>) -> QueryResult<Vec<Category>> {
    let names: BTreeSet<String> =
        paths.iter().flat_map(|path| path.iter()).map(|name| name.to_lowercase()).collect();
    sql("select id, parent_id, name from categories where lower(name) = any($1) order by position, id desc")
        .bind::<Array<Text>, _>(names.iter().map(String::as_str).collect::<Vec<_>>())
        .load(conn)
        .await
}

/// Where paths end, and what must be made for that: id and parent by path.
struct Places<'p> {
    ends: HashMap<&'p [String], Uuid>,
    new: BTreeMap<&'p [String], (Uuid, Option<Uuid>)>,
}

fn places<'p>(found: Vec<Category>, paths: &BTreeSet<&'p [String]>) -> Places<'p> {
    // Of siblings with one name the first counts: it is inserted last.
    let mut tree: HashMap<(Option<Uuid>, String), Uuid> = found
        .into_iter()
        .rev()
        .map(|category| ((category.parent_id, category.name.to_lowercase()), category.id))
        .collect();
    let mut places = Places { ends: HashMap::new(), new: BTreeMap::new() };
    for path in paths {
        let mut parent = None;
        for depth in 1..=path.len() {
            let prefix = &path[..depth];
            let key = (parent, prefix[depth - 1].to_lowercase());
            let id = *tree.entry(key).or_insert_with(|| {
                let id = new_id();
                places.new.insert(prefix, (id, parent));
                id
            });
            parent = Some(id);
        }
        if let Some(id) = parent {
            places.ends.insert(*path, id);
        }
    }
    places
}

async fn make(conn: &mut Conn, new: &BTreeMap<&[String], (Uuid, Option<Uuid>)>) -> QueryResult<()> {
    if new.is_empty() {
        return Ok(());
    }
    let wishes: Vec<[String; 2]> = new
        .keys()
        .map(|path| {
            let name = path.last().map(String::as_str).unwrap_or_default();
            [slugify(name, FALLBACK), slugify(&path.join(" "), FALLBACK)]
        })
        .collect();
    let found: Vec<Slug> = sql("select slug from categories where slug = any($1)")
        .bind::<Array<Text>, _>(wishes.iter().flatten().map(String::as_str).collect::<Vec<_>>())
        .load(conn)
        .await?;
    let mut taken: HashSet<String> = found.into_iter().map(|row| row.slug).collect();
    let slugs: Vec<String> = wishes
        .into_iter()
        .zip(new.values())
        .map(|([name, path], (id, _))| {
            let random = format!("{path}-{}", &id.simple().to_string()[20..]);
            let slug = [name, path].into_iter().find(|slug| !taken.contains(slug)).unwrap_or(random);
            taken.insert(slug.clone());
            slug
        })
        .collect();
    sql("insert into categories (id, parent_id, slug, name) select * from unnest($1, $2, $3, $4)")
        .bind::<Array<SqlUuid>, _>(new.values().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind::<Array<Nullable<SqlUuid>>, _>(new.values().map(|(_, parent)| *parent).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(&slugs)
        .bind::<Array<Text>, _>(
            new.keys().map(|path| path.last().map(String::as_str).unwrap_or_default()).collect::<Vec<_>>(),
        )
        .execute(conn)
        .await?;
    Ok(())
}
