//! One test in a process of its own, as a user, in a folder of a file system.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::unistd::{Gid, Uid, chown, geteuid, setgroups, setresgid, setresuid};
use uinotify_source::fanotify::{MarkKind, Options};

use crate::{limits, lists, random, storm};

/// The first argument of such a process.
pub(crate) const ARGUMENT: &str = "--scene";

const USER: u32 = 1000;
/// Whatever takes longer hangs, and ends.
const HANG_SECONDS: u32 = 300;

/// What a scene may know.
pub(crate) struct Scene {
    pub(crate) options: Options,
    pub(crate) whole: bool,
}

type Test = fn(&Scene) -> Result<()>;

/// Tests, for every file system and user.
pub(crate) const TESTS: &[(&str, Test)] = &[
    ("one_by_one", lists::one_by_one),
    ("special_files", lists::special_files),
    ("execution", lists::execution),
    ("narrow_masks", lists::narrow_masks),
    ("excluded", lists::excluded),
    ("ends", lists::ends),
    ("own_accesses", lists::own_accesses),
    ("readiness", lists::readiness),
    ("random_one_by_one", |scene| random::lists(scene, 1)),
    ("random_few", |scene| random::lists(scene, 4)),
    ("random_many", |scene| random::lists(scene, 30)),
    ("storm", storm::of_many_processes),
    ("overflow", storm::overflow),
    ("removed_while_open", lists::removed_while_open),
    ("before_renames", lists::before_renames),
    ("a_directory_renamed_meanwhile", lists::a_directory_renamed_meanwhile),
];

/// Tests for a file system of one kind, by a user of one kind.
pub(crate) const SINGLE: &[(&str, Test)] = &[
    ("unmount", limits::unmount),
    ("few_marks", limits::few_marks),
    ("truncation_that_clears_bits", lists::truncation_that_clears_bits),
];

impl Scene {
    pub(crate) fn new(options: Options, whole: bool) -> Self {
        Self { options, whole }
    }

    /// Which mark was had is what the kernel gives there.
    pub(crate) fn check_mark(&self, mark: MarkKind) -> Result<()> {
        ensure!((mark == MarkKind::FileSystem) == self.whole, "{mark}");
        Ok(())
    }
}

/// Runs one in another process, in a new folder below `volume`.
pub(crate) fn run(name: &str, volume: &Path, as_root: bool, whole: bool) -> Result<()> {
    let folder = volume.join(format!("{name}-{}-{whole}", if as_root { "root" } else { "user" }));
    std::fs::create_dir(&folder)?;
    if geteuid().is_root() && !as_root {
        chown(&folder, Some(Uid::from_raw(USER)), Some(Gid::from_raw(USER)))?;
    }
    let mut command = Command::new(std::env::current_exe()?);
    let flags = [as_root, whole].map(|flag| flag.to_string());
    let output = command.arg(ARGUMENT).arg(name).arg(&folder).args(flags).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let _ = std::fs::remove_dir_all(&folder);
    ensure!(output.status.success(), "{}: {said}", output.status);
    print!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// The other process.
pub(crate) fn play(arguments: &[String]) -> Result<()> {
    let [name, folder, as_root, whole] = arguments else { anyhow::bail!("a name, a folder and two flags") };
    // SAFETY: takes no pointer; SIGALRM ends a process that does not handle it.
    unsafe { libc::alarm(HANG_SECONDS) };
    let (folder, as_root, whole) = (PathBuf::from(folder), as_root == "true", whole == "true");
    if geteuid().is_root() && !as_root {
        setgroups(&[])?;
        setresgid(Gid::from_raw(USER), Gid::from_raw(USER), Gid::from_raw(USER))?;
        setresuid(Uid::from_raw(USER), Uid::from_raw(USER), Uid::from_raw(USER))?;
    }
    std::env::set_current_dir(&folder)?;
    let (_, test) = TESTS.iter().chain(SINGLE).find(|(found, _)| found == name).context("no such test")?;
    // On a file system that can be marked as a whole, inodes can be all the same.
    let options = Options { whole_file_systems: whole, ..Options::default() };
    test(&Scene::new(options, whole))
}
