//! The tree of categories on the wire.

use std::collections::HashMap;

use poem_openapi::Object;
use uuid::Uuid;
use waybill_schema::catalogue::categories::CategoryRow;

use super::CategoryRefDto;

/// A category with what is below it.
#[derive(Debug, Object)]
#[oai(rename = "Category")]
pub struct CategoryDto {
    /// Id.
    pub id: Uuid,
    /// Above it; null for a root.
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
    /// From the root to the category itself; only when one is asked for.
    #[oai(skip_serializing_if_is_none)]
    pub path: Option<Vec<CategoryRefDto>>,
    /// Right below it, in their order.
    pub children: Vec<CategoryDto>,
}

/// The tree.
#[derive(Debug, Object)]
#[oai(rename = "CategoryTree")]
pub struct CategoryTreeDto {
    /// The roots, in their order.
    pub data: Vec<CategoryDto>,
}

impl From<CategoryRow> for CategoryDto {
    fn from(row: CategoryRow) -> Self {
        Self {
            id: row.id,
            parent_id: row.parent_id,
            slug: row.slug,
            name: row.name,
            position: row.position,
            image_url: row.image_url,
            active: row.active,
            path: None,
            children: Vec::new(),
        }
    }
}

/// Builds the tree of rows that are in the order of siblings. What hangs below a category that is not among the rows (an
/// inactive one) is left out.
pub fn tree(rows: Vec<CategoryRow>) -> Vec<CategoryDto> {
    let mut below: HashMap<Option<Uuid>, Vec<CategoryRow>> = HashMap::new();
    for row in rows {
        below.entry(row.parent_id).or_default().push(row);
    }
    collect(None, &mut below)
}

// The database refuses cycles, so this ends; each row is taken once in any case.
fn collect(parent: Option<Uuid>, below: &mut HashMap<Option<Uuid>, Vec<CategoryRow>>) -> Vec<CategoryDto> {
    let rows = below.remove(&parent).unwrap_or_default();
    rows.into_iter()
        .map(|row| {
            let children = collect(Some(row.id), below);
            CategoryDto { children, ..row.into() }
        })
        .collect()
}

/// The category of a slug, with its path and what is below it.
pub fn find(roots: Vec<CategoryDto>, slug: &str) -> Option<CategoryDto> {
    fn descend(nodes: Vec<CategoryDto>, slug: &str, path: &mut Vec<CategoryRefDto>) -> Option<CategoryDto> {
        for mut node in nodes {
            path.push(CategoryRefDto { id: node.id, slug: node.slug.clone(), name: node.name.clone() });
            if node.slug == slug {
                return Some(node);
            }
            if let Some(found) = descend(std::mem::take(&mut node.children), slug, path) {
                return Some(found);
            }
            path.pop();
        }
        None
    }
    let mut path = Vec::new();
    let found = descend(roots, slug, &mut path)?;
    Some(CategoryDto { path: Some(path), ..found })
}
