//! Trials with programs: this command itself, and one of the system's.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use super::observe;
use crate::environment::{DISABLE, PRELOAD, SOCKET};
use crate::program::{self, Obstacle};
use crate::shim_file::{self, SHIM};

/// What came of them.
pub(super) struct Trials {
    /// The library was loaded into a program of the system's.
    pub(super) loaded: Result<Box<Loaded>, String>,
    /// A program had its events, and the number of a watch that it asked for.
    pub(super) emulated: Result<(), String>,
    /// The same for one whose calls came by a filter of system calls.
    pub(super) filtered: Result<(), String>,
    /// A tree was shown.
    pub(super) fuse: Result<(), String>,
}

/// A program with the library in it.
pub(super) struct Loaded {
    pub(super) program: String,
    /// The file of its libc.
    pub(super) libc: Option<String>,
}

/// What the file in the tree says.
const TEXT: &str = "shown by uinotify";

impl Trials {
    pub(super) fn make() -> anyhow::Result<Self> {
        let folder = Folder::make()?;
        let command = std::env::current_exe().context("cannot find this command itself (is /proc mounted?)")?;
        let loaded = load();
        let is_static = program::obstacle(&command, SHIM).is_some_and(|found| found.obstacle == Obstacle::Static);
        // A static command cannot take the library: then that it loads into others is all that there is to see.
        let (emulated, fuse) = if is_static {
            (loaded.as_ref().map(drop).map_err(Clone::clone), show_tree(&command, &folder))
        } else {
            (emulate(&command, &folder, &[]), watch_tree(&command, &folder))
        };
        let filtered = emulate(&command, &folder, &["--interpose", "seccomp"].map(OsStr::new));
        Ok(Self { loaded: loaded.map(Box::new), emulated, filtered, fuse })
    }
}

/// Starts a program of the system's with the library alone, which shows its own mappings.
fn load() -> Result<Loaded, String> {
    let library = shim_file::install_for_user().map_err(|error| error.to_string())?;
    let program = program::find(OsStr::new("cat"), std::env::var_os("PATH").as_deref());
    let program = program.ok_or("there is no cat(1) in PATH to load the library into")?;
    let mut command = Command::new(&program);
    let output = command.arg("/proc/self/maps").env(PRELOAD, &library).output().map_err(|error| error.to_string())?;
    let maps = String::from_utf8_lossy(&output.stdout);
    let files = || maps.lines().filter_map(|line| line.find('/').map(|start| &line[start..]));
    let program = program.display().to_string();
    if !files().any(|file| Path::new(file) == library) {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("the dynamic linker took no notice of it");
        return Err(format!("the library is not loaded into {program}: {said}"));
    }
    let is_libc = |file: &&str| {
        let name = file.rsplit('/').next().unwrap_or_default();
        name.starts_with("libc.") || name.starts_with("libc-") || name.starts_with("ld-musl")
    };
    let libc = files().find(is_libc).map(str::to_owned);
    Ok(Loaded { program, libc })
}

/// Runs this command as a program under an emulator, in an empty folder.
fn emulate(command: &Path, folder: &Folder, options: &[&OsStr]) -> Result<(), String> {
    let watched = folder.path.join("watched");
    fs::create_dir_all(&watched).map_err(|error| error.to_string())?;
    let mut run = uinotify(command);
    run.arg("run").args(options).arg("--").arg(command).arg(observe::COMMAND).arg(&watched);
    said(&mut run).map(drop)
}

fn watch_tree(command: &Path, folder: &Folder) -> Result<(), String> {
    let watched = folder.path.join("watched").into_os_string();
    let options: [&OsStr; 4] = ["--source".as_ref(), "fuse".as_ref(), "--tree".as_ref(), &watched];
    show_tree(command, folder)?;
    emulate(command, folder, &options)
}

/// Has any program read a file in a tree.
fn show_tree(command: &Path, folder: &Folder) -> Result<(), String> {
    let file = folder.path.join("watched/file");
    fs::create_dir_all(folder.path.join("watched")).map_err(|error| error.to_string())?;
    fs::write(&file, TEXT).map_err(|error| error.to_string())?;
    let tree: OsString = folder.path.join("watched").into();
    let mut run = uinotify(command);
    run.args(["run", "--source", "fuse", "--tree"]).arg(tree).args(["--", "cat"]).arg(&file);
    let text = said(&mut run)?;
    let _ = fs::remove_file(&file);
    if text == TEXT { Ok(()) } else { Err("a file in the tree holds something else".to_owned()) }
}

/// This command, without settings of the one who asks.
fn uinotify(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env_remove(SOCKET).env_remove(DISABLE).stdin(Stdio::null());
    command
}

/// What a command says; the reason why it fails, in its own words.
fn said(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let problem = String::from_utf8_lossy(&output.stderr);
    let problem = problem.lines().map(|line| line.strip_prefix("uinotify: ").unwrap_or(line)).next();
    Err(problem.map_or_else(|| output.status.to_string(), str::to_owned))
}

/// A folder for trials, which goes with them.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn make() -> anyhow::Result<Self> {
        let number = u64::from_ne_bytes(crate::socket::random().context("cannot read /dev/urandom")?);
        let path = std::env::temp_dir().join(format!("uinotify-doctor-{number:016x}"));
        DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
