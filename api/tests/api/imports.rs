use serde_json::Value;
use waybill_jobs::{kinds::RunImport, testing::enqueued};

use crate::support::{Answer, App, text};

const PATH: &str = "/v1/admin/imports";
const CSV: &str = "sku,name,price\nA,Cup,1.00\n";

/// A part of a form: name, file name, content type, content.
type Part<'a> = (&'a str, Option<&'a str>, &'a str, &'a [u8]);

fn form(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, filename, content_type, content) in parts {
        let filename = filename.map(|name| format!("; filename=\"{name}\"")).unwrap_or_default();
        let content_type =
            if content_type.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
        let head = format!(
            "--XX\r\nContent-Disposition: form-data; name=\"{name}\"{filename}\r\n{content_type}\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--XX--\r\n");
    body
}

fn kind(kind: &str) -> Part<'_> {
    ("kind", None, "", kind.as_bytes())
}

fn csv(content: &str) -> Part<'_> {
    ("file", Some("c:\\goods\\goods.csv"), "text/csv", content.as_bytes())
}

async fn upload(app: &App, token: &str, key: Option<&str>, parts: &[Part<'_>]) -> Answer {
    let call = app.call(poem::http::Method::POST, PATH).token(token);
    let call = call.bytes("multipart/form-data; boundary=XX", form(parts));
    match key {
        Some(key) => call.header("idempotency-key", key).send().await,
        None => call.send().await,
    }
}

/// The files in the store.
fn stored(app: &App) -> Vec<String> {
    let folder = app.files.path().join("imports");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_file_is_stored_and_its_job_enqueued_whichever_part_comes_first() {
    let app = App::start().await;
    let admin = app.admin().await;
    let first = upload(&app, &admin, None, &[kind("products"), csv(CSV)]).await;
    let location = first.header("location").unwrap().to_owned();
    let first = first.expect(202);
    assert_eq!((text(&first, "kind"), text(&first, "status")), ("products", "queued"));
    assert_eq!(
        (text(&first, "filename"), first["size_bytes"].as_u64()),
        ("goods.csv", Some(CSV.len() as u64))
    );
    let second = upload(&app, &admin, None, &[csv("sku,on_hand\nA,1\n"), kind(" stock\n")]).await.expect(202);
    assert_eq!(text(&second, "kind"), "stock");

    let jobs: Vec<String> =
        enqueued::<RunImport>(app.db.pool()).await.iter().map(|job| job.import_id.to_string()).collect();
    assert_eq!(jobs, [text(&first, "id"), text(&second, "id")]);
    let file = app.files.path().join(format!("imports/{}.csv", text(&first, "id")));
    assert_eq!(std::fs::read_to_string(file).unwrap(), CSV);

    assert_eq!(app.get(&location).token(&admin).send().await.expect(200), first);
    let list = app.get(&format!("{PATH}?limit=1")).token(&admin).send().await.expect(200);
    assert_eq!(list["data"][0]["id"], second["id"]);
    let job = app.get(&format!("/v1/jobs/{}", text(&first, "job_id"))).token(&admin).send().await.expect(200);
    assert_eq!((text(&job, "kind"), text(&job, "state")), ("import.run", "queued"));
    assert_eq!(job["correlation_id"], first["id"]);

    let (_, jane) = app.customer("jane@example.com").await;
    upload(&app, &jane, None, &[kind("stock"), csv(CSV)]).await.problem(403, "forbidden");
    app.get(&location).token(&jane).send().await.problem(403, "forbidden");
    app.get(&format!("/v1/jobs/{}", text(&first, "job_id")))
        .token(&jane)
        .send()
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn what_is_refused_leaves_no_file() {
    let app = App::with(&[
        ("WAYBILL_API__UPLOAD_LIMIT_BYTES", "1048576"),
        ("WAYBILL_API__BODY_LIMIT_BYTES", "1024"),
    ])
    .await;
    let admin = app.admin().await;
    let send = |parts: Vec<Part<'static>>| {
        let (app, admin) = (&app, &admin);
        async move { upload(app, admin, None, &parts).await }
    };
    let fault = |field: &str, code: &str| vec![(field.to_owned(), code.to_owned())];
    assert_eq!(send(vec![kind("products")]).await.faults(), fault("file", "required"));
    assert_eq!(send(vec![csv(CSV)]).await.faults(), fault("kind", "required"));
    assert_eq!(send(vec![]).await.faults().len(), 2);
    assert_eq!(send(vec![kind("customers"), csv(CSV)]).await.faults(), fault("kind", "invalid"));
    assert_eq!(send(vec![csv(CSV), kind("customers")]).await.faults(), fault("kind", "invalid"));
    assert_eq!(send(vec![kind("stock"), csv("")]).await.faults(), fault("file", "empty"));
    assert_eq!(send(vec![csv(CSV), csv(CSV), kind("stock")]).await.faults(), fault("file", "repeated"));
    assert_eq!(send(vec![csv(CSV), ("note", None, "", b"x")]).await.faults(), fault("note", "unknown_field"));
    let sheet = ("file", Some("goods.xlsx"), "application/octet-stream", &b"PK\x03\x04..."[..]);
    assert_eq!(send(vec![kind("stock"), sheet]).await.faults(), fault("file", "invalid"));
    let image = ("file", Some("goods.png"), "image/png", &b"x"[..]);
    send(vec![kind("stock"), image]).await.problem(415, "unsupported_media_type");
    let json =
        app.call(poem::http::Method::POST, PATH).token(&admin).bytes("application/json", b"{}".to_vec());
    json.send().await.problem(415, "unsupported_media_type");
    let rest = form(&[kind("stock"), csv(CSV)]);
    let broken = app.call(poem::http::Method::POST, PATH).token(&admin);
    let broken = broken.bytes("multipart/form-data; boundary=XX", rest[..rest.len() - 12].to_vec());
    broken.send().await.problem(400, "malformed");
    assert_eq!(stored(&app), [""; 0]);
    assert_eq!(app.db.count("select count(*) as n from jobs").await, 0);

    // Beyond the limit: 8 MiB, which no longer fits the first part of an upload; with and without a length.
    let large = vec![b'a'; 8 << 20];
    let parts = [kind("stock"), ("file", Some("large.csv"), "text/csv", &large[..])];
    let problem = upload(&app, &admin, None, &parts).await.problem(413, "payload_too_large");
    assert_eq!(problem["status"], 413);
    assert_eq!(stored(&app), [""; 0]);
    // Within it, and larger than other bodies may be.
    let fits = vec![b'a'; 1 << 20];
    let parts = [kind("stock"), ("file", Some("fits.csv"), "text/csv", &fits[..])];
    upload(&app, &admin, None, &parts).await.expect(202);
    assert_eq!(stored(&app).len(), 1);
}

#[tokio::test]
async fn a_key_makes_an_upload_safe_to_repeat() {
    let app = App::start().await;
    let admin = app.admin().await;
    let first = upload(&app, &admin, Some("k"), &[kind("products"), csv(CSV)]).await.expect(202);
    let again = upload(&app, &admin, Some("k"), &[csv(CSV), kind("products")]).await.expect(202);
    assert_eq!(again, first);
    upload(&app, &admin, Some("k"), &[kind("stock"), csv(CSV)]).await.problem(422, "idempotency_mismatch");
    upload(&app, &admin, Some("k"), &[kind("products"), csv("sku\n")])
        .await
        .problem(422, "idempotency_mismatch");
    assert_eq!(stored(&app), [format!("{}.csv", text(&first, "id"))]);
    assert_eq!(enqueued::<RunImport>(app.db.pool()).await.len(), 1);
}

#[tokio::test]
async fn bad_rows_come_back_as_a_harmless_file() {
    let app = App::start().await;
    let admin = app.admin().await;
    let import = upload(&app, &admin, None, &[kind("products"), csv(CSV)]).await.expect(202);
    let id = text(&import, "id");
    app.db
        .execute(&format!(
            "insert into import_errors (import_id, row_number, field, value, reason)
             select '{id}', i, f, '=1+' || i, 'no \"price\"' from generate_series(2, 1300) i, unnest(array['name', 'price']) f"
        ))
        .await;
    let answer = app.get(text(&import, "errors_url")).token(&admin).open().await;
    assert_eq!(answer.content_type(), Some("text/csv; charset=utf-8"));
    assert!(answer.header("content-disposition").unwrap().starts_with("attachment"));
    let file = answer.into_body().into_string().await.unwrap();
    let rows: Vec<&str> = file.split("\r\n").collect();
    assert_eq!(rows[0], "row,field,value,reason");
    assert_eq!(rows[1], "2,name,'=1+2,\"no \"\"price\"\"\"");
    assert_eq!(rows[2598], "1300,price,'=1+1300,\"no \"\"price\"\"\"");
    assert_eq!(rows.len(), 2600, "each once, and a line's end");
    let unknown = format!("{PATH}/01900000-0000-7000-8000-000000000000");
    app.get(&format!("{unknown}/errors")).token(&admin).send().await.problem(404, "not_found");
    app.get(&unknown).token(&admin).send().await.problem(404, "not_found");
    assert_eq!(answer_is_empty(&app, &admin).await, "row,field,value,reason\r\n");
}

async fn answer_is_empty(app: &App, admin: &str) -> String {
    let import: Value = upload(app, admin, None, &[kind("products"), csv(CSV)]).await.expect(202);
    let answer = app.get(text(&import, "errors_url")).token(admin).open().await;
    answer.into_body().into_string().await.unwrap()
}

#[tokio::test]
async fn an_import_whose_waiting_job_is_ended_is_over_at_once_and_says_why() {
    let app = App::start().await;
    let admin = app.admin().await;
    for (action, became) in [("discard", "discarded"), ("cancel", "cancelled")] {
        let import = upload(&app, &admin, None, &[kind("products"), csv(CSV)]).await.expect(202);
        let path = format!("/v1/admin/jobs/{}/{action}", text(&import, "job_id"));
        app.post(&path, serde_json::json!({})).token(&admin).send().await.expect(202);
        let path = format!("{PATH}/{}", text(&import, "id"));
        let ended = app.get(&path).token(&admin).send().await.expect(200);
        assert_eq!(text(&ended, "status"), "failed", "{ended}");
        assert_eq!(text(&ended, "error"), format!("its job was {became}; the rows up to there are in"));
        assert!(ended["finished_at"].is_string(), "{ended}");
    }
}
