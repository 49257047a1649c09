//! The store on S3, against as much of S3's HTTP API as it uses, kept in memory.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use poem::{
    Request, Response, Server, endpoint,
    http::{Method, StatusCode},
    listener::{Acceptor, Listener, TcpListener},
};
use waybill_platform::{
    Config,
    files::{self, Files, FilesError},
};

const MIB: usize = 1024 * 1024;

#[derive(Default)]
struct Bucket {
    objects: HashMap<String, Bytes>,
    uploads: HashMap<String, BTreeMap<u32, Bytes>>,
    started: usize,
    unsigned: usize,
    fail_parts: bool,
}

type Shared = Arc<Mutex<Bucket>>;

async fn answer(bucket: Shared, mut request: Request) -> poem::Result<Response> {
    let body = request.take_body().into_bytes().await?;
    let mut bucket = bucket.lock().unwrap();
    let signed = request
        .header("authorization")
        .is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256 Credential=id/"));
    bucket.unsigned += usize::from(!signed);
    let key = request.uri().path().trim_start_matches("/shop/").to_owned();
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(request.uri().query().unwrap_or("").as_bytes()).into_owned().collect();
    let upload = query.get("uploadId").cloned();
    let ok = || Response::builder().header("etag", "\"e\"");
    let xml = |text: String| Response::builder().content_type("application/xml").body(text);
    let missing = || Response::builder().status(StatusCode::NOT_FOUND).finish();
    Ok(match (request.method().clone(), upload) {
        (Method::POST, None) if query.contains_key("uploads") => {
            bucket.started += 1;
            let id = format!("{key}#{}", bucket.started);
            bucket.uploads.insert(id.clone(), BTreeMap::new());
            xml(format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            ))
        }
        (Method::POST, None) if query.contains_key("delete") => {
            let text = String::from_utf8(body.to_vec()).unwrap();
            let gone = text.split("<Key>").nth(1).unwrap().split("</Key>").next().unwrap();
            bucket.objects.remove(gone);
            xml(format!("<DeleteResult><Deleted><Key>{gone}</Key></Deleted></DeleteResult>"))
        }
        (Method::PUT, Some(_)) if bucket.fail_parts => {
            Response::builder().status(StatusCode::FORBIDDEN).finish()
        }
        (Method::PUT, Some(id)) => match bucket.uploads.get_mut(&id) {
            Some(parts) => {
                parts.insert(query["partNumber"].parse().unwrap(), body);
                ok().finish()
            }
            // A part that was on its way while the upload was taken back.
            None => missing(),
        },
        (Method::POST, Some(id)) => {
            let parts = bucket.uploads.remove(&id).unwrap();
            let (last, others) =
                parts.values().collect::<Vec<_>>().split_last().map(|(l, o)| (l.len(), o.to_vec())).unwrap();
            assert!(
                others.iter().all(|part| part.len() >= 5 * MIB),
                "S3 refuses parts below 5 MiB; last is {last}"
            );
            let whole: Vec<u8> = parts.into_values().flatten().collect();
            bucket.objects.insert(key, whole.into());
            xml("<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>".to_owned())
        }
        (Method::DELETE, Some(id)) => {
            bucket.uploads.remove(&id);
            Response::builder().status(StatusCode::NO_CONTENT).finish()
        }
        (Method::PUT, None) => {
            bucket.objects.insert(key, body);
            ok().finish()
        }
        (Method::DELETE, None) => {
            bucket.objects.remove(&key);
            Response::builder().status(StatusCode::NO_CONTENT).finish()
        }
        (Method::GET, None) if query.contains_key("list-type") => {
            let found = bucket.objects.iter().filter(|(key, _)| key.starts_with(&query["prefix"]));
            let contents = found.map(|(key, object)| {
                let size = object.len();
                format!(
                    "<Contents><Key>{key}</Key><LastModified>2015-10-21T07:28:00.000Z</LastModified>\
                     <ETag>e</ETag><Size>{size}</Size></Contents>"
                )
            });
            xml(format!("<ListBucketResult>{}</ListBucketResult>", contents.collect::<String>()))
        }
        (method, None) => match bucket.objects.get(&key) {
            None => missing(),
            Some(object) => {
                let size = object.len();
                let range = request.header("range").map(|range| {
                    let from = range.trim_start_matches("bytes=").split('-').next().unwrap();
                    from.parse::<usize>().unwrap()
                });
                let modified = ok().header("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT");
                match range {
                    _ if method == Method::HEAD => modified.header("content-length", size).finish(),
                    Some(from) => modified
                        .status(StatusCode::PARTIAL_CONTENT)
                        .header("content-range", format!("bytes {from}-{}/{size}", size - 1))
                        .body(object.slice(from..)),
                    None => modified.body(object.clone()),
                }
            }
        },
        _ => missing(),
    })
}

async fn start() -> (Shared, Files) {
    let bucket = Shared::default();
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
    let address = *acceptor.local_addr()[0].as_socket_addr().unwrap();
    let shared = bucket.clone();
    let routes = endpoint::make(move |request| answer(shared.clone(), request));
    tokio::spawn(Server::new_with_acceptor(acceptor).run(routes));
    let endpoint = format!("http://{address}");
    let config = Config::from_variables([
        ("WAYBILL_DATABASE__URL", "postgres://localhost/unused"),
        ("WAYBILL_FILES__URL", "s3://shop/waybill/files"),
        ("WAYBILL_FILES__S3__ENDPOINT", &endpoint),
        ("WAYBILL_FILES__S3__PATH_STYLE", "true"),
        ("WAYBILL_FILES__S3__ACCESS_KEY_ID", "id"),
        ("WAYBILL_FILES__S3__SECRET_ACCESS_KEY", "secret"),
    ]);
    (bucket, files::store(&config.unwrap().files).unwrap())
}

fn chunks(count: usize) -> impl futures::Stream<Item = Result<Bytes, io::Error>> {
    stream::iter((0..count).map(|number| Ok(Bytes::from(vec![u8::try_from(number).unwrap(); MIB]))))
}

async fn content(files: &Files, key: &str, offset: u64) -> Vec<u8> {
    let file = files.open_from(key, offset).await.unwrap();
    let chunks: Vec<Bytes> = file.stream.try_collect().await.unwrap();
    chunks.concat()
}

#[tokio::test]
async fn files_go_to_the_prefix_and_come_back() {
    let (bucket, files) = start().await;
    files.put_bytes("a/small.txt", Bytes::from_static(b"hello")).await.unwrap();
    files.put_stream("a/large.bin", chunks(12), 12 * MIB as u64).await.unwrap();
    {
        let bucket = bucket.lock().unwrap();
        let mut keys: Vec<_> = bucket.objects.keys().cloned().collect();
        keys.sort();
        assert_eq!(keys, ["waybill/files/a/large.bin", "waybill/files/a/small.txt"]);
        assert_eq!(
            (bucket.started, bucket.unsigned),
            (1, 0),
            "a small file goes up in one request; all are signed"
        );
    }
    assert_eq!(content(&files, "a/small.txt", 0).await, b"hello");
    assert_eq!(content(&files, "a/small.txt", 3).await, b"lo");
    assert_eq!(content(&files, "a/small.txt", 5).await, b"");
    assert_eq!(files.size("a/large.bin").await.unwrap(), 12 * MIB as u64);
    let large = content(&files, "a/large.bin", 0).await;
    assert!(
        large
            .chunks(MIB)
            .enumerate()
            .all(|(number, chunk)| chunk.iter().all(|byte| usize::from(*byte) == number))
    );
    files.delete("a/small.txt").await.unwrap();
    assert!(matches!(files.open("a/small.txt").await, Err(FilesError::NotFound { .. })));
}

#[tokio::test]
async fn an_upload_that_fails_is_taken_back() {
    let (bucket, files) = start().await;
    let limit = 11 * MIB as u64;
    let refused = files.put_stream("too/large", chunks(12), limit).await;
    assert!(matches!(refused, Err(FilesError::TooLarge { .. })), "{refused:?}");
    assert_eq!(bucket.lock().unwrap().started, 1);
    nothing_left(&bucket).await;

    let broken = chunks(12).chain(stream::iter([Err(io::Error::other("cut off"))]));
    assert!(matches!(files.put_stream("broken", broken, u64::MAX).await, Err(FilesError::Content(_))));
    nothing_left(&bucket).await;

    bucket.lock().unwrap().fail_parts = true;
    let failed = files.put_stream("failed", chunks(12), u64::MAX).await;
    assert!(matches!(failed, Err(FilesError::Store(_))), "{failed:?}");
    nothing_left(&bucket).await;
}

#[tokio::test]
async fn an_upload_that_is_dropped_is_taken_back() {
    let (bucket, files) = start().await;
    let endless = chunks(12).chain(stream::pending());
    let mut upload = Box::pin(files.put_stream("abandoned", endless, u64::MAX));
    tokio::select! {
        _ = &mut upload => panic!("the stream never ends"),
        () = until(&bucket, |bucket| bucket.uploads.values().any(|parts| !parts.is_empty())) => {}
    }
    drop(upload);
    nothing_left(&bucket).await;
}

async fn nothing_left(bucket: &Shared) {
    until(bucket, |bucket| bucket.uploads.is_empty()).await;
    assert!(bucket.lock().unwrap().objects.is_empty());
}

async fn until(bucket: &Shared, reached: impl Fn(&Bucket) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !reached(&bucket.lock().unwrap()) {
        assert!(Instant::now() < deadline, "uploads: {:?}", bucket.lock().unwrap().uploads.keys());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_was_stored_before_a_time_is_found_below_its_folder() {
    let (_bucket, files) = start().await;
    for key in ["a/b/1", "a/2.csv", "ab/3"] {
        files.put_bytes(key, Bytes::from_static(b"x")).await.unwrap();
    }
    // When the bucket says that all of it was stored.
    let stored = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_480);
    let found = async |before| -> Vec<String> {
        let mut found: Vec<_> = files.stored_before("a", before).unwrap().try_collect().await.unwrap();
        found.sort();
        found
    };
    assert_eq!(found(stored + Duration::from_secs(1)).await, ["a/2.csv", "a/b/1"]);
    assert_eq!(found(stored).await, [""; 0]);
}
