//! The operators' web console: static files, compiled in, that ask this API and nothing else.
//!
//! There is no build step and nothing comes from elsewhere, so it works wherever the API does. It signs in like any other
//! client and sees and changes what its token or key may: there is nothing here to authorize.

mod assets;

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use poem::{
    Endpoint, Request, Response, Route,
    endpoint::make_sync,
    get,
    http::{HeaderValue, StatusCode, header},
};

use crate::{error::ApiError, http::ETag};

/// Where it is.
pub const PATH: &str = "/console";

/// Scripts, styles, images and answers from here and nowhere else; no script or style within a page; no text that becomes
/// markup, which browsers that know trusted types refuse whatever the script does; in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Kept, but asked after each time: a release changes several files that belong together.
const CACHE_CONTROL: &str = "no-cache";

/// A file as it is served.
struct Asset {
    body: Bytes,
    content_type: &'static str,
    etag: ETag,
}

/// Adds the console to `route`.
pub fn mount(route: Route) -> Route {
    let files: Arc<HashMap<&str, Asset>> = Arc::new(
        assets::ALL
            .iter()
            .map(|(path, content)| {
                let (body, etag) = (Bytes::from_static(content.as_bytes()), ETag::of(content.as_bytes()));
                (*path, Asset { body, content_type: content_type(path), etag })
            })
            .collect(),
    );
    route.at(PATH, get(make_sync(|_| to_the_folder()))).at("/console/*path", get(file(files)))
}

/// The page names its files from its own folder, so that a proxy may put a prefix before all of this.
fn to_the_folder() -> Response {
    Response::builder()
        .status(StatusCode::PERMANENT_REDIRECT)
        .header(header::LOCATION, "console/")
        .header(header::CACHE_CONTROL, CACHE_CONTROL)
        .finish()
}

fn file(files: Arc<HashMap<&'static str, Asset>>) -> impl Endpoint<Output = Response> {
    make_sync(move |request| -> poem::Result<Response> {
        // A name in a list, never a path on a disk.
        let path = match request.raw_path_param("path") {
            None | Some("") => "index.html",
            Some(path) => path,
        };
        match files.get(path) {
            Some(asset) => Ok(answer(&request, asset)),
            None => Err(ApiError::not_found("page").into()),
        }
    })
}

fn answer(request: &Request, asset: &Asset) -> Response {
    let response = Response::builder()
        .header(header::ETAG, asset.etag.as_str())
        .header(header::CACHE_CONTROL, CACHE_CONTROL)
        .header(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY))
        .header("cross-origin-opener-policy", "same-origin")
        .header("cross-origin-resource-policy", "same-origin");
    if asset.etag.matches(request) {
        response.status(StatusCode::NOT_MODIFIED).finish()
    } else {
        response.content_type(asset.content_type).body(asset.body.clone())
    }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    fn below(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, root, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_served_with_a_type_of_its_own() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/console/assets"));
        let mut found = BTreeSet::new();
        below(root, root, &mut found);
        let listed: BTreeSet<String> = assets::ALL.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(found, listed);
        assert!(assets::ALL.iter().all(|(path, _)| content_type(path) != "application/octet-stream"));
    }

    #[test]
    fn scripts_name_no_host_and_make_no_markup_of_texts() {
        for (path, content) in assets::ALL {
            let code = content.replace("http://www.w3.org/2000/svg", "");
            for forbidden in [
                "http://",
                "https://",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(!code.contains(forbidden), "{path} has {forbidden}");
            }
        }
    }
}
