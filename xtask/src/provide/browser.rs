//! A browser without a window, for the tests of the web console.

use std::path::PathBuf;

use super::{apt, find};
use crate::workspace::Workspace;

/// What drives it, and the browser itself; of one version, as they come from one source.
#[derive(Debug)]
pub struct Browser {
    pub driver: PathBuf,
    pub program: PathBuf,
}

impl Browser {
    /// The installed one, else the system's package; or the reason why there is none.
    pub async fn provide(workspace: &Workspace) -> Result<Self, String> {
        if let Some(found) = Self::find() {
            return Ok(found);
        }
        apt::install(workspace, &["chromium", "chromium-driver"])
            .await
            .map_err(|error| format!("{error:#}"))?;
        Self::find().ok_or_else(|| "the packages chromium and chromium-driver hold none".to_owned())
    }

    fn find() -> Option<Self> {
        let driver = find::program("chromedriver", &["/usr/bin", "/usr/lib/chromium-browser"])?;
        let program = ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .find_map(|name| find::program(name, &["/usr/bin"]))?;
        Some(Self { driver, program })
    }

    pub fn line(&self) -> String {
        format!("{:<9} {}", "browser", self.program.display())
    }
}

/// What a run without one says.
pub fn none_line(reason: &str) -> String {
    format!("{:<9} none ({reason}); the web console is not tested in one", "browser")
}
