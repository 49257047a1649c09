//! Where this checkout keeps its things.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checkout that this xtask was built in.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    pub fn here() -> Result<Self> {
        // Cargo sets the variable for `cargo xtask`; the constant serves a binary started by hand.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("the xtask crate has no parent folder")?;
        let root = root.canonicalize().with_context(|| format!("reading {}", root.display()))?;
        Ok(Self { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `.local/`: everything private to this checkout that is not source and not build output.
    pub fn local(&self) -> Result<PathBuf> {
        let path = self.root.join(".local");
        std::fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(path)
    }

    pub fn logs(&self) -> Result<PathBuf> {
        let path = self.local()?.join("logs");
        std::fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(path)
    }

    /// Eight hex digits that tell this checkout from others on the same machine.
    pub fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.root.hash(&mut hasher);
        let digits = format!("{:016x}", hasher.finish());
        digits[..8].to_owned()
    }

    /// Cargo's output folder for a profile (`debug` or `release`).
    pub fn binaries(&self, profile: &str) -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || self.root.join("target"),
            |dir| {
                let dir = PathBuf::from(dir);
                if dir.is_absolute() { dir } else { self.root.join(dir) }
            },
        );
        target.join(profile)
    }

    /// The path as people want to read it: relative to the checkout where it is inside it.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}
