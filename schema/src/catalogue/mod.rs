//! Categories, products and variants.

pub mod categories;
pub mod detail;
pub mod listing;
pub mod products;
pub mod upsert;
pub mod variants;

crate::text_enum! {
    /// Where a product is in its life.
    pub enum ProductStatus {
        /// Being written; nobody sees it.
        Draft = "draft",
        /// On sale.
        Active = "active",
        /// Not on sale for a while.
        Inactive = "inactive",
        /// Never on sale again.
        Discontinued = "discontinued",
    }
}

/// A URL's name for a thing: lower-case ASCII letters, digits and single hyphens, 1 to 120 characters; `fallback` for a
/// text that has no letter or digit of any script.
pub fn slugify(text: &str, fallback: &str) -> String {
    let mut slug = slug::slugify(text);
    slug.truncate(120);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { fallback.to_owned() } else { slug.to_owned() }
}

/// Whether a text is a slug as [`slugify`] makes them.
pub fn is_slug(text: &str) -> bool {
    (1..=120).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_slugs() {
        for name in ["Café & Crème №5", "  --x--  ", "日本", "!!!", &"long word ".repeat(40)] {
            let slug = slugify(name, "item");
            assert!(is_slug(&slug), "{name} -> {slug}");
        }
        assert_eq!(
            slugify("WHITE HANGING HEART T-LIGHT HOLDER", "item"),
            "white-hanging-heart-t-light-holder"
        );
        assert_eq!(slugify("???", "item"), "item");
        assert!(!is_slug("Upper") && !is_slug("a--b") && !is_slug("-a") && !is_slug(""));
    }
}
