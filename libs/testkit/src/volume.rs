//! A small disk of one's own: it can be filled, and made read-only.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use tempfile::TempDir;

/// What fills it.
const FILLER: &str = "filler";

/// A file system of a few MiB in memory, which goes when this is dropped. Mounting takes root, or `CAP_SYS_ADMIN`.
pub struct Volume {
    folder: TempDir,
}

impl Volume {
    /// A file system of so many bytes.
    pub fn new(bytes: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let volume = Self { folder };
        let size = format!("size={bytes},mode=0755");
        let mounted = run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "ebs-test"]).arg(volume.path()));
        mounted.context(
            "a small file system is needed, which only root (CAP_SYS_ADMIN) can mount: run this test as root",
        )?;
        Ok(volume)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all the room that is left.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut filler = File::create(self.filler())?;
        for size in [1 << 16, 1 << 12, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(())
    }

    /// Gives back what [`Volume::fill`] took.
    pub fn make_room(&self) -> anyhow::Result<()> {
        fs::remove_file(self.filler()).context("it was not filled")
    }

    /// Makes it read-only, or writable again. Nobody may have a file of it open for writing.
    pub fn set_read_only(&self, read_only: bool) -> anyhow::Result<()> {
        let mode = if read_only { "remount,ro" } else { "remount,rw" };
        run(Command::new("mount").args(["-o", mode]).arg(self.path()))
    }

    fn filler(&self) -> PathBuf {
        self.path().join(FILLER)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Whatever still has a file of it open keeps that file.
        if let Err(error) = run(Command::new("umount").arg("--lazy").arg(self.path())) {
            eprintln!("{} stays mounted: {error:#}", self.path().display());
        }
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
