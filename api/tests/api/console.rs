use std::collections::BTreeSet;

use poem::{Response, http::Method};
use serde_json::{Value, json};
use waybill_api::app;

use crate::support::App;

async fn open(app: &App, path: &str) -> (Response, String) {
    let response = app.get(path).open().await;
    let (parts, body) = response.into_parts();
    let text = body.into_string().await.unwrap();
    (Response::from_parts(parts, ().into()), text)
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// What stands between each `before` and the next of `until`.
fn all_between<'a>(text: &'a str, before: &str, until: &[char]) -> Vec<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split(until).next()).collect()
}

#[tokio::test]
async fn the_page_comes_with_a_policy_that_lets_nothing_else_in() {
    let app = App::start().await;
    let (moved, _) = open(&app, "/console").await;
    // Relative, so that it also holds behind a proxy that puts a prefix before it.
    assert_eq!((moved.status().as_u16(), header(&moved, "location")), (308, "console/"));

    let (page, html) = open(&app, "/console/").await;
    assert_eq!(page.status().as_u16(), 200);
    assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
    assert_eq!(header(&page, "cache-control"), "no-cache");
    assert_eq!(header(&page, "x-content-type-options"), "nosniff");
    assert_eq!(header(&page, "referrer-policy"), "no-referrer");
    let policy = header(&page, "content-security-policy");
    for rule in [
        "default-src 'none'",
        "script-src 'self';",
        "style-src 'self';",
        "frame-ancestors 'none'",
        "trusted-types 'none'",
    ] {
        assert!(policy.contains(rule), "{rule} in {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    assert!(!html.contains("<script>") && !html.contains("<style") && !html.contains(" style="), "{html}");

    let etag = header(&page, "etag");
    let again = app.get("/console/").header("if-none-match", etag).open().await;
    assert_eq!((again.status().as_u16(), header(&again, "etag")), (304, etag));
    assert!(again.into_body().into_bytes().await.unwrap().is_empty());
    let head = app.call(Method::HEAD, "/console/js/main.js").open().await;
    assert_eq!(
        (head.status().as_u16(), header(&head, "content-type")),
        (200, "text/javascript; charset=utf-8")
    );
    app.post("/console/", json!({})).send().await.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn nothing_but_its_own_files_is_served() {
    let app = App::start().await;
    for path in [
        "/console/js",
        "/console/js/",
        "/console/nothing.js",
        "/console/assets.rs",
        "/console/mod.rs",
        "/consoles",
        "/console//index.html",
        "/console/../Cargo.toml",
        "/console/js/../../mod.rs",
        "/console/%2e%2e/mod.rs",
        "/console/..%2fmod.rs",
        "/console/%2Fetc%2Fpasswd",
        "/console/js/main.js%00",
    ] {
        app.get(path).send().await.problem(404, "not_found");
    }
}

/// Every script, with its path below `/console/`, found as a browser finds them.
async fn scripts(app: &App) -> Vec<(String, String)> {
    let mut scripts: Vec<(String, String)> = Vec::new();
    let mut todo = vec!["js/main.js".to_owned()];
    while let Some(path) = todo.pop() {
        if scripts.iter().any(|(known, _)| *known == path) {
            continue;
        }
        let (response, code) = open(app, &format!("/console/{path}")).await;
        assert_eq!(response.status().as_u16(), 200, "{path}");
        assert_eq!(header(&response, "content-type"), "text/javascript; charset=utf-8", "{path}");
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for target in all_between(&code, "from '", &['\'']) {
            let target = match target.strip_prefix("../") {
                Some(rest) => format!("{}/{rest}", folder.rsplit_once('/').map_or("", |(above, _)| above)),
                None => format!("{folder}/{}", target.trim_start_matches("./")),
            };
            todo.push(target);
        }
        scripts.push((path, code));
    }
    scripts
}

#[tokio::test]
async fn what_the_page_asks_for_is_there() {
    let app = App::start().await;
    let (_, html) = open(&app, "/console/").await;
    for path in all_between(&html, "href=\"", &['"']).into_iter().chain(all_between(&html, "src=\"", &['"']))
    {
        if !path.starts_with('#') {
            assert_eq!(open(&app, &format!("/console/{path}")).await.0.status().as_u16(), 200, "{path}");
        }
    }
    assert!(scripts(&app).await.len() > 25);
}

#[tokio::test]
async fn every_route_that_the_console_asks_is_in_the_document() {
    let app = App::start().await;
    let document: Value = serde_json::from_str(&app::openapi()).unwrap();
    let known: Vec<Vec<String>> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(|path| path.trim_matches('/').split('/').map(str::to_owned).collect())
        .collect();
    let mut asked = BTreeSet::new();
    for (_, code) in scripts(&app).await {
        for quote in ['\'', '`'] {
            for path in all_between(&code, &format!("{quote}v1/"), &[quote]) {
                asked.insert(format!("v1/{path}"));
            }
        }
    }
    assert!(asked.len() > 20, "{asked:?}");
    for path in asked {
        // A part that the script fills in stands for any; what it fills in is for the browser's test to see.
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |known: &Vec<String>| {
            known.len() == parts.len()
                && known.iter().zip(&parts).all(|(known, part)| part.contains("${") || known == part)
        };
        assert!(known.iter().any(fits), "{path}");
    }
}

#[tokio::test]
async fn its_own_writes_pass_where_other_origins_are_on_a_list() {
    let app = App::with(&[("WAYBILL_API__ALLOWED_ORIGINS", "https://shop.example")]).await;
    let admin = app.admin().await;
    for (origin, host, status) in [
        ("http://console.example:8080", "console.example:8080", 200),
        ("https://shop.example", "console.example:8080", 200),
        ("https://evil.example", "console.example:8080", 403),
    ] {
        let call = app.post("/v1/admin/system/queues/mail/resume", json!({})).token(&admin);
        let answer = call.header("origin", origin).header("host", host).send().await;
        assert_eq!(answer.status.as_u16(), status, "{origin} at {host}");
    }
}
