//! File systems of the tests' own, in their own mount name space.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::server::{Kind, Server};

/// Kinds of file systems, and whether one mark on all of it can be had.
pub(crate) const KINDS: [(&str, bool); 8] = [
    ("tmpfs", true),
    ("ext4", true),
    ("xfs", true),
    ("btrfs", true),
    ("subvolume", false),
    ("overlay", false),
    ("overlay_exported", true),
    ("fuse", false),
];

/// Where the file systems are mounted. They go with the mount name space of this process.
pub(crate) struct Volumes {
    folder: tempfile::TempDir,
    _server: Option<Server>,
    missing: Vec<(&'static str, String)>,
}

/// From here on no mount of this process is seen by others.
///
/// # Errors
///
/// What is missing.
pub(crate) fn enter_mount_space() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "not root");
    unshare(CloneFlags::CLONE_NEWNS).context("no mount name space")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("mounts are not private")
}

impl Volumes {
    /// Mounts all that can be had.
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("uinotify-fanotify-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
        let mut volumes = Self { folder, _server: None, missing: Vec::new() };
        for (kind, _) in KINDS {
            let made = volumes.make(kind);
            if let Err(error) = made {
                volumes.missing.push((kind, format!("{error:#}")));
            }
        }
        Ok(volumes)
    }

    /// What is missing for this kind.
    pub(crate) fn missing(&self, kind: &str) -> Option<&str> {
        self.missing.iter().find(|(name, _)| *name == kind).map(|(_, why)| why.as_str())
    }

    pub(crate) fn path(&self, kind: &str) -> PathBuf {
        self.folder.path().join(kind)
    }

    fn make(&mut self, kind: &str) -> Result<()> {
        let path = self.path(kind);
        if kind == "subvolume" {
            let parent = self.path("btrfs");
            ensure!(self.missing("btrfs").is_none(), "no btrfs");
            run("btrfs", &["subvolume", "create"], &parent.join("inner"))?;
            return Ok(std::os::unix::fs::symlink(parent.join("inner"), path)?);
        }
        fs::create_dir(&path)?;
        let result = self.mount(kind, &path);
        if result.is_ok() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        result
    }

    fn mount(&mut self, kind: &str, path: &Path) -> Result<()> {
        let overlay = |options: &str| -> Result<()> {
            for part in ["lower", "upper", "work"] {
                fs::create_dir_all(self.path(&format!("{kind}.{part}")))?;
            }
            let part = |part: &str| self.path(&format!("{kind}.{part}")).display().to_string();
            let options =
                format!("lowerdir={},upperdir={},workdir={}{options}", part("lower"), part("upper"), part("work"));
            Ok(mount(Some("overlay"), path, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?)
        };
        match kind {
            "tmpfs" => Ok(mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), None::<&str>)?),
            "overlay" => overlay(""),
            "overlay_exported" => overlay(",index=on,nfs_export=on"),
            "fuse" => {
                let lower = self.path("fuse.lower");
                fs::create_dir(&lower)?;
                self._server = Some(Server::start(Kind::Exact, &lower, path, None)?);
                Ok(())
            }
            _ => {
                let image = self.path(&format!("{kind}.image"));
                fs::File::create(&image)?.set_len(320 << 20)?;
                run(&format!("mkfs.{kind}"), &["-q"], &image)?;
                let mut command = Command::new("mount");
                let status = command.args(["-o", "loop"]).arg(&image).arg(path).stderr(Stdio::null()).status()?;
                ensure!(status.success(), "cannot be mounted");
                Ok(())
            }
        }
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> Result<()> {
    let output = Command::new(program).args(arguments).arg(path).output().with_context(|| program.to_owned())?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
