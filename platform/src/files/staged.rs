//! Files that were never finished.
//!
//! A store that is a folder writes a file under its name with `#` and a number behind, and then renames it. Whoever is killed in
//! between leaves that, and the store itself neither lists nor removes such names.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::FilesError;

/// Removes what is below a folder of the store, if nothing was written to it for `rest`, and the folders that are empty then;
/// returns how many files there were.
pub async fn remove(root: PathBuf, folder: &str, rest: Duration) -> Result<usize, FilesError> {
    let mut folder = root.join(folder);
    let removed = tokio::task::spawn_blocking(move || {
        let before = SystemTime::now().checked_sub(rest).unwrap_or(SystemTime::UNIX_EPOCH);
        let removed = below(&folder, before)?;
        while removed > 0 && folder != root && fs::remove_dir(&folder).is_ok() && folder.pop() {}
        Ok(removed)
    });
    removed.await.map_err(io::Error::other).flatten().map_err(FilesError::Folder)
}

fn below(folder: &Path, before: SystemTime) -> io::Result<usize> {
    let mut removed = 0;
    let Some(entries) = found(fs::read_dir(folder))? else { return Ok(0) };
    for entry in entries {
        let entry = entry?;
        // Of the entry itself: a link is not followed.
        let Some(what) = found(entry.metadata())? else { continue };
        if what.is_dir() {
            let inner = below(&entry.path(), before)?;
            if inner > 0 {
                // Stays if there is anything in it.
                let _ = fs::remove_dir(entry.path());
            }
            removed += inner;
        } else if is_unfinished(&entry.file_name().to_string_lossy()) && what.modified()? <= before {
            removed += usize::from(found(fs::remove_file(entry.path()))?.is_some());
        }
    }
    Ok(removed)
}

/// As the store tells its own files from those.
fn is_unfinished(name: &str) -> bool {
    name.split_once('#')
        .is_some_and(|(_, number)| !number.is_empty() && number.chars().all(|digit| digit.is_ascii_digit()))
}

/// What goes while we look is as good as removed.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
