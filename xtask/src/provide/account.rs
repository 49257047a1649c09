//! The account and the folder that a server runs with.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::unistd::{User, chown, geteuid};

use super::Options;

/// The account to run as: none when we are not root, else the first of `names` that exists.
pub fn service_user(names: &[&str]) -> Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for name in names.iter().chain(&["nobody"]) {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some(user));
        }
    }
    anyhow::bail!("root may not run this server, and none of the accounts {names:?} and nobody exists")
}

/// Creates the folder for `service`, owned by `user` and closed to others.
pub fn folder(options: &Options, service: &str, user: Option<&User>) -> Result<PathBuf> {
    let local = options.workspace.local()?;
    let base = match user {
        Some(user) if !reaches(user, &local) => {
            let outside = Path::new("/var/tmp").join(format!("waybill-{}", options.workspace.tag()));
            let pointer = local.join("data.location");
            std::fs::write(&pointer, format!("{}\n", outside.display()))?;
            outside
        }
        _ => local,
    };
    let base = if options.ephemeral() { base.join(options.scope()) } else { base };
    walkable(&base)?;
    let folder = base.join(options.node_name(service));
    own_folder(&folder, user)?;
    Ok(folder)
}

/// Creates `base` so that other accounts may walk through it. In a folder that everybody may write
/// to, somebody else could have laid it before us.
fn walkable(base: &Path) -> Result<()> {
    std::fs::create_dir_all(base).with_context(|| format!("creating {}", base.display()))?;
    let meta = std::fs::symlink_metadata(base)?;
    if base.starts_with("/var/tmp") {
        ensure!(
            meta.is_dir() && meta.uid() == geteuid().as_raw(),
            "{} belongs to another account",
            base.display()
        );
        std::fs::set_permissions(base, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Creates `folder` if need be, gives it to `user`, closes it to everyone else.
pub fn own_folder(folder: &Path, user: Option<&User>) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    if let Some(user) = user {
        chown(folder, Some(user.uid), Some(user.gid))
            .with_context(|| format!("giving {} to {}", folder.display(), user.name))?;
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    Ok(())
}

/// Writes a file that `user` may read (and nobody else, if `secret`).
pub fn write_for(user: Option<&User>, path: &Path, content: &str, secret: bool) -> Result<()> {
    std::fs::write(path, content).with_context(|| format!("writing {}", path.display()))?;
    if let Some(user) = user {
        chown(path, Some(user.uid), Some(user.gid))?;
    }
    let mode = if secret { 0o400 } else { 0o644 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Whether `user` may walk down to `path`.
fn reaches(user: &User, path: &Path) -> bool {
    path.ancestors().all(|folder| {
        std::fs::metadata(folder).is_ok_and(|meta| {
            let mode = meta.permissions().mode();
            if meta.uid() == user.uid.as_raw() {
                mode & 0o100 != 0
            } else if meta.gid() == user.gid.as_raw() {
                mode & 0o010 != 0
            } else {
                mode & 0o001 != 0
            }
        })
    })
}
