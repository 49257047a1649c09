use poem_openapi::{Object, types::MaybeUndefined};
use uuid::Uuid;
use waybill_schema::catalogue::{
    categories::{CategoryChange, NewCategory},
    is_slug, slugify,
};

use crate::error::{ApiResult, FieldErrors};

const MAX_NAME: usize = 200;

/// A category to be made.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct CreateCategory {
    /// Name, 1 to 200 characters.
    pub name: String,
    /// Unique name in URLs; made from the name if missing.
    pub slug: Option<String>,
    /// Above it; none for a root.
    pub parent_id: Option<Uuid>,
    /// Place among its siblings, 0 by default.
    pub position: Option<i32>,
    /// Image, http or https.
    pub image_url: Option<String>,
    /// Whether it shows, true by default.
    pub active: Option<bool>,
}

/// What changes of a category; `null` clears.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct UpdateCategory {
    /// Name, 1 to 200 characters.
    pub name: Option<String>,
    /// Unique name in URLs.
    pub slug: Option<String>,
    /// Above it; null makes it a root.
    pub parent_id: MaybeUndefined<Uuid>,
    /// Place among its siblings.
    pub position: Option<i32>,
    /// Image, http or https; null removes it.
    pub image_url: MaybeUndefined<String>,
    /// Whether it shows.
    pub active: Option<bool>,
}

impl CreateCategory {
    /// The row, or every field at fault.
    pub fn parse(self) -> ApiResult<NewCategory> {
        let mut errors = FieldErrors::new();
        let name = errors.text("name", &self.name, 1, MAX_NAME);
        let slug = match self.slug {
            Some(slug) => check_slug(slug, &mut errors),
            None => slugify(&name, "category"),
        };
        let image_url = self.image_url.and_then(|url| check_url("image_url", &url, &mut errors));
        errors.check()?;
        Ok(NewCategory {
            parent_id: self.parent_id,
            slug,
            name,
            position: self.position.unwrap_or(0),
            image_url,
            active: self.active.unwrap_or(true),
        })
    }
}

impl UpdateCategory {
    /// The changes, or every field at fault.
    pub fn parse(self) -> ApiResult<CategoryChange> {
        let mut errors = FieldErrors::new();
        let name = self.name.map(|name| errors.text("name", &name, 1, MAX_NAME));
        let slug = self.slug.map(|slug| check_slug(slug, &mut errors));
        let image_url = match self.image_url {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(None),
            MaybeUndefined::Value(url) => Some(check_url("image_url", &url, &mut errors)),
        };
        errors.check()?;
        Ok(CategoryChange {
            parent_id: match self.parent_id {
                MaybeUndefined::Undefined => None,
                MaybeUndefined::Null => Some(None),
                MaybeUndefined::Value(id) => Some(Some(id)),
            },
            slug,
            name,
            position: self.position,
            image_url,
            active: self.active,
        })
    }
}

/// A slug that somebody chose.
pub fn check_slug(slug: String, errors: &mut FieldErrors) -> String {
    if !is_slug(&slug) {
        errors.add(
            "slug",
            "invalid",
            "must be 1 to 120 lower-case letters, digits and single hyphens between them",
        );
    }
    slug
}

/// An http or https URL of at most 2,000 characters.
fn check_url(field: &str, text: &str, errors: &mut FieldErrors) -> Option<String> {
    let url = url::Url::parse(text.trim()).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.as_str().len() <= 2_000);
    if url.is_none() {
        errors.add(field, "invalid", "must be an http or https URL");
    }
    url.map(Into::into)
}
