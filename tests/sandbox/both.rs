//! A program run in a plain directory and in one that is seen through the mount.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::act;
use crate::server::{Kind, Server};
use crate::tree;

/// From here on no mount of this process is seen by others.
///
/// # Errors
///
/// What is missing.
pub(crate) fn enter_mount_space() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "not root");
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").context("/dev/fuse")?;
    unshare(CloneFlags::CLONE_NEWNS).context("no mount name space")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("mounts are not private")
}

/// Three directories: a plain one, a tree, and where that is seen through the mount.
pub(crate) struct Scene {
    pub(crate) folder: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // Other users have to get in.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let scene = Self { folder };
        for name in ["plain", "lower", "seen"] {
            std::fs::create_dir(scene.path(name))?;
        }
        Ok(scene)
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn serve(&self) -> Result<Server> {
        self.serve_as(Kind::Exact)
    }

    pub(crate) fn serve_as(&self, kind: Kind) -> Result<Server> {
        Server::start(kind, &self.path("lower"), &self.path("seen"), None)
    }
}

/// Runs one of our programs on both sides: what it says must be the same, and so must the trees that it leaves.
pub(crate) fn compare(kind: Kind, name: &str, arguments: &[String]) -> Result<()> {
    let scene = Scene::new()?;
    let mut server = scene.serve_as(kind)?;
    let expected = run(name, &scene.path("plain"), arguments)?;
    let found = run(name, &scene.path("seen"), arguments);
    let found = found.with_context(|| format!("after {:?}", server.settle()))?;
    let differs = expected.lines().zip(found.lines()).position(|(expected, found)| expected != found);
    if let Some(number) = differs {
        let before: Vec<_> = expected.lines().take(number).collect();
        let before = before.get(before.len().saturating_sub(20)..).unwrap_or_default().join("\n");
        let line = |text: &str| text.lines().nth(number).unwrap_or_default().to_owned();
        bail!("{before}\nthen, plain: {}\n    mounted: {}", line(&expected), line(&found));
    }
    ensure!(expected.lines().count() == found.lines().count(), "plain:\n{expected}\nmount:\n{found}");
    tree::compare_content(&scene.path("plain"), &scene.path("lower")).context("plain and lower tree")?;
    tree::compare_views(&scene.path("lower"), &scene.path("seen")).context("lower tree and mount")?;
    Ok(())
}

/// What a program of ours says.
pub(crate) fn run(name: &str, folder: &Path, arguments: &[String]) -> Result<String> {
    let output =
        Command::new(std::env::current_exe()?).args([act::ARGUMENT, name]).arg(folder).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(said)
}
