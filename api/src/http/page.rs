//! Keyset pagination: a page starts after the last row of the one before, so nothing is skipped or repeated while rows
//! are added, and a late page costs as much as the first.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use poem_openapi::{
    Object,
    types::{ParseFromJSON, ToJSON},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{ApiError, ApiResult};

/// Rows of a page when nobody says.
const DEFAULT_LIMIT: i64 = 20;
/// Rows of a page at most.
const MAX_LIMIT: i64 = 100;

/// One page of a list.
#[derive(Debug, Object)]
pub struct Page<T: ParseFromJSON + ToJSON> {
    /// The rows.
    pub data: Vec<T>,
    /// `cursor` of the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// `?cursor=&limit=`, parsed. `K` is the sort key of the last row seen.
#[derive(Debug)]
pub struct PageRequest<K> {
    /// Where the page starts; none for the first.
    pub after: Option<K>,
    /// Rows wanted, 1 to 100.
    pub limit: i64,
}

impl<K: Serialize + DeserializeOwned> PageRequest<K> {
    /// Parses the two parameters; a cursor of another list or another sort order is a 422.
    pub fn parse(cursor: Option<&str>, limit: Option<i64>) -> ApiResult<Self> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(ApiError::field("limit", "invalid", format!("must be from 1 to {MAX_LIMIT}")));
        }
        let after = cursor.filter(|text| !text.is_empty()).map(Cursor::decode).transpose()?;
        Ok(Self { after, limit })
    }

    /// Rows to ask the database for: one more than wanted tells whether there is a next page.
    pub fn fetch(&self) -> i64 {
        self.limit + 1
    }

    /// Makes the page of `rows` (as many as [`fetch`](Self::fetch) asked for); `key` is a row's sort key.
    pub fn page<R, T: ParseFromJSON + ToJSON>(
        &self,
        mut rows: Vec<R>,
        key: impl FnOnce(&R) -> K,
        make: impl FnMut(R) -> T,
    ) -> Page<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = if more { rows.last().map(|row| Cursor::encode(&key(row))) } else { None };
        Page { data: rows.into_iter().map(make).collect(), next_cursor }
    }
}

/// A position in a list, as clients pass it back: opaque to them, and free to change.
pub struct Cursor;

impl Cursor {
    /// The text of a position.
    pub fn encode<K: Serialize>(key: &K) -> String {
        // Keys are plain data; one that does not serialise would only start over.
        BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
    }

    /// The position of a text.
    pub fn decode<K: DeserializeOwned>(text: &str) -> ApiResult<K> {
        BASE64_URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| ApiError::field("cursor", "invalid", "is not a cursor of this list"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_full_page_leads_to_the_next_and_the_last_does_not() {
        let request = PageRequest::<i64>::parse(None, Some(2)).unwrap();
        let page: Page<i64> = request.page(vec![1, 2, 3], |row| *row, |row| row);
        assert_eq!(page.data, [1, 2]);
        let next = PageRequest::<i64>::parse(page.next_cursor.as_deref(), Some(2)).unwrap();
        assert_eq!(next.after, Some(2));
        let page: Page<i64> = next.page(vec![3], |row| *row, |row| row);
        assert_eq!(page.next_cursor, None);
    }

    #[test]
    fn limits_and_cursors_are_checked() {
        assert!(PageRequest::<i64>::parse(None, Some(0)).is_err());
        assert!(PageRequest::<i64>::parse(None, Some(101)).is_err());
        assert!(PageRequest::<i64>::parse(Some("nonsense"), None).is_err());
        assert!(PageRequest::<i64>::parse(Some(&Cursor::encode(&"text")), None).is_err());
    }
}
