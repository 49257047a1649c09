//! A library that gives a process a clock of its own, for the tests of clocks that are wrong.

use std::path::{Path, PathBuf};

use super::{apt, find};
use crate::workspace::Workspace;

/// The one for programs with threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The installed one, else the system's package; or the reason why there is none.
pub async fn library(workspace: &Workspace) -> Result<PathBuf, String> {
    if let Some(found) = installed() {
        return Ok(found);
    }
    apt::install(workspace, &["libfaketime"]).await.map_err(|error| format!("{error:#}"))?;
    installed().ok_or_else(|| format!("the package libfaketime holds no {LIBRARY}"))
}

/// Debian keeps it below the name of the architecture, of which several may be installed; others do not.
fn installed() -> Option<PathBuf> {
    let triplet = format!("/usr/lib/{}-", std::env::consts::ARCH);
    let ours = find::children(Path::new("/usr/lib"), LIBRARY).into_iter();
    ours.filter(|path| path.display().to_string().starts_with(&triplet))
        .chain(["/usr/lib64", "/usr/lib", "/usr/local/lib"].map(|folder| Path::new(folder).join(LIBRARY)))
        .find(|path| path.is_file())
}

pub fn line(library: &Path) -> String {
    format!("{:<9} {}", "clocks", library.display())
}

/// What a run without it says.
pub fn none_line(reason: &str) -> String {
    format!("{:<9} none ({reason}); clocks that jump or are apart are NOT TESTED", "clocks")
}
