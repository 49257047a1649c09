//! Clocks that can be set while who reads them runs.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Processes whose clock is a file's.
pub struct FakeClock {
    library: String,
    file: PathBuf,
}

impl FakeClock {
    /// A clock of this name in a folder; `None` where the run has no libfaketime.
    pub fn new(folder: &Path, name: &str) -> anyhow::Result<Option<Self>> {
        let Some(library) = env::var("WAYBILL_TEST_FAKETIME").ok().filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let clock = Self { library, file: folder.join(name) };
        clock.jump("+0")?;
        Ok(Some(clock))
    }

    /// What a process is started with. Timers run on the monotonic clock, which no administrator can set.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let on = || "1".to_owned();
        vec![
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", on()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", on()),
            ("DONT_FAKE_MONOTONIC", on()),
        ]
    }

    /// As libfaketime writes it: `+50h`, or `+0` for the time as it is.
    pub fn jump(&self, to: &str) -> anyhow::Result<()> {
        // Renamed into place: a process that reads half of it would see another time.
        let next = self.file.with_extension("next");
        std::fs::write(&next, to)?;
        Ok(std::fs::rename(&next, &self.file)?)
    }
}
