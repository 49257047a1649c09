//! Clocks that can be set while who reads them runs.

use std::path::{Path, PathBuf};

use crate::clock::LIBRARIES;

/// Workers whose clock is a file's.
pub struct FakeClock {
    library: &'static str,
    file: PathBuf,
}

impl FakeClock {
    /// `None` where libfaketime is not installed.
    pub fn new(folder: &Path) -> anyhow::Result<Option<Self>> {
        let Some(library) = LIBRARIES.into_iter().find(|path| Path::new(path).exists()) else {
            return Ok(None);
        };
        let clock = Self { library, file: folder.join("clock") };
        clock.jump("+0")?;
        Ok(Some(clock))
    }

    /// What a worker is started with. Timers run on the monotonic clock, which no administrator can set.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let on = || "1".to_owned();
        vec![
            ("LD_PRELOAD", self.library.to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", on()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", on()),
            ("DONT_FAKE_MONOTONIC", on()),
        ]
    }

    /// As libfaketime writes it: `+50h`, or `+0` for the time as it is.
    pub fn jump(&self, to: &str) -> anyhow::Result<()> {
        // Renamed into place: a worker that reads half of it would see another time.
        let next = self.file.with_extension("next");
        std::fs::write(&next, to)?;
        Ok(std::fs::rename(&next, &self.file)?)
    }
}
