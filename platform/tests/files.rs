//! Files appear whole or not at all.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    io,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::io::AsyncReadExt;
use waybill_platform::{
    Config,
    files::{self, Files, FilesError},
};

const MIB: usize = 1024 * 1024;

fn open(folder: &Path) -> Files {
    let config = Config::from_variables([
        ("WAYBILL_DATABASE__URL", "postgres://localhost/unused"),
        ("WAYBILL_FILES__URL", folder.to_str().unwrap()),
    ])
    .unwrap();
    files::store(&config.files).unwrap()
}

fn chunks(count: usize) -> impl futures::Stream<Item = Result<Bytes, io::Error>> {
    stream::iter((0..count).map(|number| Ok(Bytes::from(vec![u8::try_from(number % 251).unwrap(); MIB]))))
}

async fn content(files: &Files, key: &str, offset: u64) -> Vec<u8> {
    let file = files.open_from(key, offset).await.unwrap();
    file.stream
        .try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await
        .unwrap()
}

/// Every file below `folder`, so that the hidden remains of an upload show too.
fn remains(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(remains(&path)) } else { found.push(path.display().to_string()) }
    }
    found
}

#[tokio::test]
async fn small_and_large_files_come_back_as_they_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let files = open(&folder.path().join("made/on/demand"));
    let small = files.put_bytes("a/small.txt", Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!((small.key.as_str(), small.size), ("a/small.txt", 5));
    let large = files.put_stream("a/large.bin", chunks(23), 23 * MIB as u64).await.unwrap();
    assert_eq!(large.size, 23 * MIB as u64);

    assert_eq!(content(&files, "a/small.txt", 0).await, b"hello");
    let whole = content(&files, "a/large.bin", 0).await;
    assert_eq!(whole.len(), 23 * MIB);
    assert!(
        whole
            .chunks(MIB)
            .enumerate()
            .all(|(number, chunk)| chunk.iter().all(|byte| usize::from(*byte) == number))
    );
    let tail = content(&files, "a/large.bin", 20 * MIB as u64 + 5).await;
    assert_eq!(tail, whole[20 * MIB + 5..]);
}

#[tokio::test]
async fn an_empty_file_is_a_file_and_the_end_is_not_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let files = open(folder.path());
    files.put_bytes("empty", Bytes::new()).await.unwrap();
    assert_eq!(content(&files, "empty", 0).await, b"");
    files.put_bytes("five", Bytes::from_static(b"12345")).await.unwrap();
    let at_end = files.open_from("five", 5).await.unwrap();
    assert_eq!((at_end.size, at_end.offset), (5, 5));
    assert_eq!(content(&files, "five", 5).await, b"");
    assert_eq!(content(&files, "five", 4).await, b"5");
}

#[tokio::test]
async fn a_reader_goes_in_and_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    let files = open(folder.path());
    let lines = "sku,price\n".repeat(100_000);
    files.put_reader("import.csv", lines.as_bytes(), 10_000_000).await.unwrap();
    let mut back = String::new();
    files.open("import.csv").await.unwrap().into_reader().read_to_string(&mut back).await.unwrap();
    assert!(back == lines);
}

#[tokio::test]
async fn a_file_over_its_limit_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let files = open(folder.path());
    for (size, limit) in [(1, MIB as u64 - 1), (12, 11 * MIB as u64)] {
        let refused = files.put_stream("too/large", chunks(size), limit).await;
        assert!(matches!(refused, Err(FilesError::TooLarge { limit: told }) if told == limit), "{refused:?}");
        assert!(matches!(files.open("too/large").await, Err(FilesError::NotFound { .. })));
    }
    only(folder.path(), 0).await;
    files.put_stream("just/right", chunks(2), 2 * MIB as u64).await.unwrap();
}

#[tokio::test]
async fn a_broken_stream_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let files = open(folder.path());
    files.put_bytes("kept", Bytes::from_static(b"old")).await.unwrap();
    for size in [1, 12] {
        let broken = chunks(size).chain(stream::iter([Err(io::Error::other("cut off"))]));
        let refused = files.put_stream("kept", broken, u64::MAX).await;
        assert!(matches!(refused, Err(FilesError::Content(_))), "{refused:?}");
        assert_eq!(content(&files, "kept", 0).await, b"old");
    }
    only(folder.path(), 1).await;
}

#[tokio::test]
async fn a_dropped_upload_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let files = open(folder.path());
    let endless = chunks(12).chain(stream::pending());
    let mut upload = Box::pin(files.put_stream("abandoned", endless, u64::MAX));
    tokio::select! {
        _ = &mut upload => panic!("the stream never ends"),
        () = only(folder.path(), 1) => {}
    }
    drop(upload);
    only(folder.path(), 0).await;
}

#[tokio::test]
async fn removing_is_idempotent_and_missing_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let files = open(folder.path());
    files.put_bytes("x", Bytes::from_static(b"1")).await.unwrap();
    assert_eq!(files.size("x").await.unwrap(), 1);
    files.delete("x").await.unwrap();
    files.delete("x").await.unwrap();
    assert!(matches!(files.open("x").await, Err(FilesError::NotFound { key }) if key == "x"));
    assert!(matches!(files.size("x").await, Err(FilesError::NotFound { .. })));
}

#[tokio::test]
async fn keys_cannot_leave_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let files = open(&folder.path().join("inside"));
    for key in ["", "/", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", "./a", "a\u{0}b"] {
        let refused = files.put_bytes(key, Bytes::from_static(b"x")).await;
        assert!(matches!(refused, Err(FilesError::InvalidKey { .. })), "{key:?}: {refused:?}");
    }
    assert_eq!(remains(folder.path()), Vec::<String>::new());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let inside = file.path().join("folder");
    let config = Config::from_variables([
        ("WAYBILL_DATABASE__URL", "postgres://localhost/unused"),
        ("WAYBILL_FILES__URL", inside.to_str().unwrap()),
    ])
    .unwrap();
    let refused = files::store(&config.files).unwrap_err();
    assert!(
        matches!(&refused, FilesError::Location { location, .. } if location == inside.to_str().unwrap()),
        "{refused:?}"
    );
}

/// Cleaning up is done beside the caller, so wait for it, with a deadline.
async fn only(folder: &Path, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while remains(folder).len() != count {
        assert!(Instant::now() < deadline, "left behind: {:?}", remains(folder));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_below_a_folder_goes_at_once_and_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = open(folder.path());
    for key in ["a/b/1", "a/b/c/2", "a/bc/3", "a/b.csv"] {
        files.put_bytes(key, Bytes::from_static(b"x")).await.unwrap();
    }
    assert_eq!(files.delete_below("a/b").await.unwrap(), 2);
    assert_eq!(remains(folder.path()).len(), 2);
    assert!(!folder.path().join("a/b").exists(), "no empty folder stays");
    assert_eq!(files.delete_below("a/b").await.unwrap(), 0);
    assert!(matches!(files.delete_below("a/../b").await, Err(FilesError::InvalidKey { .. })));
    assert!(matches!(files.delete_below("").await, Err(FilesError::InvalidKey { .. })), "not everything");
}

#[tokio::test]
async fn what_killed_writers_left_goes_with_its_folder_or_when_it_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let files = open(folder.path());
    files.put_bytes("a/b/1", Bytes::from_static(b"x")).await.unwrap();
    files.put_bytes("a/c#x", Bytes::from_static(b"x")).await.unwrap();
    files.put_bytes("up.csv", Bytes::from_static(b"x")).await.unwrap();
    for unfinished in ["a/b/1#1", "a/b/d/2#17", "up.csv#1"] {
        let path = folder.path().join(unfinished);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "part of it").unwrap();
    }
    assert_eq!(files.delete_below("a/b").await.unwrap(), 1, "those that were finished");
    assert!(!folder.path().join("a/b").exists());
    assert_eq!(remains(folder.path()).len(), 3);
    let hour = Duration::from_secs(3_600);
    assert_eq!(files.remove_unfinished(hour).await.unwrap(), 0, "somebody may be at it");
    assert_eq!(files.remove_unfinished(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(files.remove_unfinished(Duration::ZERO).await.unwrap(), 0);
    assert_eq!(content(&files, "up.csv", 0).await, b"x");
    assert_eq!(content(&files, "a/c#x", 0).await, b"x");
}

#[tokio::test]
async fn what_was_stored_before_a_time_is_found_below_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let files = open(folder.path());
    let now = SystemTime::now();
    for (key, hours) in
        [("a/old.csv", 30), ("a/b/old", 30), ("a/new.csv", 20), ("ab/old.csv", 30), ("a/up.csv#1", 30)]
    {
        let path = folder.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(path).unwrap().set_modified(now - Duration::from_hours(hours)).unwrap();
    }
    let day = Duration::from_hours(24);
    let mut found: Vec<String> = files.stored_before("a", now - day).unwrap().try_collect().await.unwrap();
    found.sort();
    assert_eq!(found, ["a/b/old", "a/old.csv"]);
    let none: Vec<String> = files.stored_before("c", now).unwrap().try_collect().await.unwrap();
    assert_eq!(none, [""; 0]);
}
