//! A disk that is full: mails and uploaded files cannot be written.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, ensure};
use reqwest::{Method, StatusCode, multipart};
use waybill_tests::{Plan, System, client, missing::skipped, until};

use crate::{books::recovered, load::Load};

/// A file system of a few hundred kilobytes at a folder; gone when this is dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` for whoever may not mount.
    pub fn mount(folder: &Path) -> anyhow::Result<Option<Self>> {
        std::fs::create_dir_all(folder)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "waybill-test"])
            .arg(folder)
            .output()?
            .status
            .success();
        Ok(mounted.then(|| Self(folder.to_owned())))
    }

    /// Takes what is left of the disk.
    fn fill(&self) -> anyhow::Result<()> {
        // It ends with "no space left on device", after the last whole block.
        let filled = std::fs::write(self.0.join("filler"), vec![0_u8; 1 << 20]);
        ensure!(filled.is_err(), "the disk is larger than it should be");
        Ok(())
    }

    /// Gives it room for a test's mails.
    fn grow(&self) -> anyhow::Result<()> {
        std::fs::remove_file(self.0.join("filler"))?;
        self.resize("64m")
    }

    /// As much room as anything may need.
    pub fn open(&self) -> anyhow::Result<()> {
        self.resize("1g")
    }

    /// No more room than what is on it takes.
    pub fn shut(&self) -> anyhow::Result<()> {
        // Who writes meanwhile makes the size too small to be taken, so it is asked for again.
        let mut last = Ok(());
        for _ in 0..10 {
            let used = Command::new("df").args(["--block-size=1", "--output=used"]).arg(&self.0).output()?;
            let used = String::from_utf8(used.stdout)?;
            let used: u64 = used.lines().last().context("no size")?.trim().parse()?;
            // 0 would be no limit.
            last = self.resize(&used.max(4_096).to_string());
            if last.is_ok() {
                break;
            }
        }
        last
    }

    fn resize(&self, size: &str) -> anyhow::Result<()> {
        let resized =
            Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0).output()?;
        ensure!(resized.status.success(), "{}", String::from_utf8_lossy(&resized.stderr));
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn upload(system: &System) -> anyhow::Result<client::Answer> {
    let mut file = String::from("sku,name,price\n");
    for row in 0..200 {
        writeln!(file, "DISK-{row},Product {row},1.99")?;
    }
    let part = multipart::Part::bytes(file.into_bytes()).file_name("file.csv");
    let form = multipart::Form::new().text("kind", "products").part("file", part);
    client::answer(system.admin.request(Method::POST, "/v1/admin/imports").multipart(form)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "cargo xtask test faults"]
async fn the_disk_of_mails_and_files_is_full() -> anyhow::Result<()> {
    let system = System::start(Plan::default().workers(2)).await?;
    let (mails, files) = (system.folder().join("mail"), system.folder().join("files"));
    let (Some(mails), Some(files)) = (SmallDisk::mount(&mails)?, SmallDisk::mount(&files)?) else {
        return skipped("a full disk", "mounting one needs the rights to");
    };
    let mut load = Load::start(&system, 4).await?;
    load.confirmed(5).await?;
    mails.fill()?;
    files.fill()?;

    // Orders do not wait for their mails.
    load.confirmed(15).await?;
    let waiting =
        "select count(*) as n from jobs where kind = 'mail.send' and jsonb_array_length(failures) > 0";
    until("a mail to fail and be kept", async || {
        let n = system.count(waiting).await?;
        Ok(if n > 0 { Ok(()) } else { Err(n.to_string()) })
    })
    .await?;
    let (status, answer) = upload(&system).await?;
    ensure!(status.is_server_error() && answer["code"].is_string(), "{status} {answer}");
    ensure!(system.count("select count(*) as n from imports").await? == 0, "an import without its file");

    mails.grow()?;
    files.grow()?;
    let healed = Instant::now();
    let (status, import) = upload(&system).await?;
    ensure!(status == StatusCode::ACCEPTED, "{status} {import}");
    let path = format!("/v1/admin/imports/{}", import["id"].as_str().context("no id")?);
    until("the import to be over", async || {
        let import = system.admin.read(&path).await?;
        Ok(if import["status"] == "completed" { Ok(()) } else { Err(import.to_string()) })
    })
    .await?;
    ensure!(system.count("select count(*) as n from variants where sku like 'DISK-%'").await? == 200);
    recovered(&system, load, "disk of mails and files full", healed).await
}
