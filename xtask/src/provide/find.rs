//! Programs that are installed but often not on PATH.

use std::path::{Path, PathBuf};

/// Folders of PATH.
pub fn path_folders() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// The first of PATH and `more` that holds `program`.
pub fn program(program: &str, more: &[&str]) -> Option<PathBuf> {
    path_folders()
        .into_iter()
        .chain(more.iter().map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// `parent/*/tail` for every child of `parent`, sorted.
pub fn children(parent: &Path, tail: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(parent)
        .map(|entries| entries.flatten().map(|entry| entry.path().join(tail)).collect())
        .unwrap_or_default();
    found.sort();
    found
}
