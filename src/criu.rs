//! `uinotify criu`: an unmodified CRIU, for programs whose inotify is emulated.
//!
//! A dump names each instance's socket as external, takes a checkpoint while CRIU holds the program, and makes instances of the
//! sockets in the images. A restore runs CRIU under an emulator, and lets the program go on when its instances have what CRIU
//! does not bring back.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use nix::poll::{PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork, getppid, getsid};
use uinotify_host::query_status;

use crate::checkpoint::{self, Checkpoint, Instance, Selection, descendants_of, dump};
use crate::environment::SOCKET;
use crate::images::{convert, read_checkpoint};
use crate::inherited::Inherited;
use crate::interpose::Interpose;
use crate::notice::notice;
use crate::settings::Settings;
use crate::{fdinfo, nested, program, ps, run};

/// What `uinotify criu` is told.
#[derive(Debug)]
pub struct Options {
    /// The settings of the emulator that a restored program gets.
    pub settings: Settings,
    /// CRIU itself, if it is not the one in PATH.
    pub program: Option<PathBuf>,
    /// A restore that takes longer is ended.
    pub seconds_max: Option<u64>,
    /// CRIU's arguments: what to do, and the rest.
    pub arguments: Vec<OsString>,
}

/// The checkpoint beside the images.
const CHECKPOINT: &str = "uinotify.json";
/// What CRIU has found out about the kernel, for its next runs. Under an emulator that is not true of the kernel.
const FEATURES: &str = "/run/criu.kdat";
/// The memory that the library shares with an emulator, in the list of a program's mappings.
const SETTLE_PAGE: &str = "uinotify-settle";

/// Runs CRIU; its exit status.
///
/// # Errors
/// There is no CRIU, its arguments lack what is needed, or what has to be done before and after fails.
pub fn run(options: &Options) -> anyhow::Result<u8> {
    if nested::is_emulated() {
        return Err(nested::execute_again(&Inherited::take()?).into());
    }
    let program = match &options.program {
        Some(program) => program.clone(),
        None => program::find(OsStr::new("criu"), std::env::var_os("PATH").as_deref())
            .ok_or_else(|| anyhow!("criu is not in PATH: install it, or name it with --program"))?,
    };
    let images = value(&options.arguments, "-D", "--images-dir").unwrap_or_else(|| OsString::from("."));
    let images = std::path::absolute(&images).with_context(|| format!("cannot use {}", images.display()))?;
    match options.arguments.first().map(|action| action.as_bytes()) {
        Some(b"dump") => dump_with(&program, &images, options),
        Some(b"restore") => restore_with(&program, &images, options),
        _ => bail!("CRIU is run for `dump` and `restore`; for anything else run it without uinotify"),
    }
}

/// The value of an option, as `-D DIR`, `-DDIR`, `--images-dir DIR` or `--images-dir=DIR`.
fn value(arguments: &[OsString], short: &str, long: &str) -> Option<OsString> {
    let mut found = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let bytes = argument.as_bytes();
        if argument == short || argument == long {
            found = rest.next().cloned().or(found);
        } else if let Some(value) = bytes.strip_prefix(long.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) {
            found = Some(OsStr::from_bytes(value).to_owned());
        } else if let Some(value) = bytes.strip_prefix(short.as_bytes())
            && !bytes.starts_with(b"--")
        {
            found = Some(OsStr::from_bytes(value).to_owned());
        }
    }
    found
}

/// A script that CRIU runs at one point of its work.
struct Script {
    folder: PathBuf,
}

impl Script {
    /// One that runs this command with `arguments` at `point`.
    fn new(point: &str, arguments: &[&OsStr]) -> anyhow::Result<Self> {
        let number = u64::from_ne_bytes(crate::socket::random()?);
        let folder = std::env::temp_dir().join(format!("uinotify-criu-{number:016x}"));
        fs::DirBuilder::new().create(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let script = Self { folder };
        fs::set_permissions(&script.folder, Permissions::from_mode(0o700))?;
        let mut text = format!("#!/bin/sh\n[ \"$CRTOOLS_SCRIPT_ACTION\" = {point} ] || exit 0\nexec").into_bytes();
        let command = std::env::current_exe()?;
        for word in [command.as_os_str()].iter().chain(arguments) {
            text.push(b' ');
            text.extend_from_slice(crate::env::quoted(word).as_bytes());
        }
        text.push(b'\n');
        fs::write(script.path(), text)?;
        fs::set_permissions(script.path(), Permissions::from_mode(0o700))?;
        Ok(script)
    }

    fn path(&self) -> PathBuf {
        self.folder.join("action")
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn dump_with(program: &Path, images: &Path, options: &Options) -> anyhow::Result<u8> {
    let tree =
        value(&options.arguments, "-t", "--tree").ok_or_else(|| anyhow!("which process? CRIU's --tree says it"))?;
    let pid: u32 =
        tree.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| anyhow!("{} is no process", tree.display()))?;
    let pids = descendants_of(pid);
    for pid in &pids {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        if maps.contains(SETTLE_PAGE) {
            bail!(
                "process {pid} shares descriptors and memory with its emulator, which CRIU cannot dump: \
                 start it with UINOTIFY_SETTLE=request in its environment"
            );
        }
    }
    let before = dump(&Selection::Processes(pids.clone()), None)?;
    let file = images.join(CHECKPOINT);
    let mut arguments: Vec<OsString> = vec!["dump".into(), "--output".into(), file.clone().into()];
    arguments.extend(pids.iter().flat_map(|pid| ["--pid".into(), pid.to_string().into()]));
    let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    // While CRIU holds the program nothing changes that it could see.
    let script = Script::new("post-dump", &arguments)?;
    let mut command = Command::new(program);
    command.args(&options.arguments).arg("--action-script").arg(script.path());
    for inode in before.instances.iter().filter_map(|instance| instance.socket_inode) {
        command.args(["--external", &format!("unix[{inode}]")]);
    }
    let process = Pid::from_raw(pid.cast_signed());
    let says = |name: &str| options.arguments.iter().any(|argument| argument == name);
    if getsid(Some(process)).is_ok_and(|leader| leader != process) && !says("--shell-job") && !says("-j") {
        command.arg("--shell-job");
    }
    let _ = fs::remove_file(&file);
    let status = command.status().with_context(|| format!("cannot run {}", program.display()))?;
    if !status.success() {
        return Ok(exit_status(status));
    }
    convert(images, &file)?;
    Ok(0)
}

/// As a shell shows it.
fn exit_status(status: std::process::ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let number = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(number).unwrap_or(1)
}

fn restore_with(program: &Path, images: &Path, options: &Options) -> anyhow::Result<u8> {
    let file = images.join(CHECKPOINT);
    let checkpoint = if file.exists() { Some(read_checkpoint(&file)?) } else { None };
    let script = Script::new("pre-resume", &[OsStr::new("fill"), file.as_os_str()])?;
    let mut command = vec![program.as_os_str().to_owned()];
    command.extend(options.arguments.iter().cloned());
    if checkpoint.is_some() {
        command.extend(["--action-script".into(), script.path().into()]);
    } else {
        notice(format_args!("{} is not there: unread events and the cursor are not restored", file.display()));
    }
    // SAFETY: this process has one thread. What the library would hold in CRIU stands in its way.
    unsafe { std::env::set_var("UINOTIFY_SETTLE", "request") };
    let cap = options.seconds_max.map(|seconds| Cap::start(seconds, checkpoint.as_ref())).transpose()?;
    let profile = options.settings.profile.or(checkpoint.as_ref().map(|checkpoint| checkpoint.profile.into()));
    let settings = Settings { profile, ..options.settings.clone() };
    let under = run::Options { settings, strict: true, interpose: Interpose::PRELOAD, trees: Vec::new(), command };
    // CRIU keeps what it has found out only where /run is in memory. What the kernel can do is not what an emulator can.
    let _ = fs::remove_file(FEATURES);
    let result = run::run(&under);
    let _ = fs::remove_file(FEATURES);
    drop(cap);
    match result {
        Ok(status) => Ok(status),
        Err(error) => {
            notice(&error);
            Ok(error.exit_status())
        }
    }
}

/// A process that ends a restore which takes too long: CRIU, and the task that it has forked, which would go on alone.
struct Cap {
    process: Pid,
}

impl Cap {
    fn start(seconds: u64, checkpoint: Option<&Checkpoint>) -> anyhow::Result<Self> {
        let watches = checkpoint.iter().flat_map(|checkpoint| &checkpoint.instances).flat_map(|one| &one.watches);
        let highest = watches.map(|watch| watch.wd).max();
        let parent = std::process::id();
        // SAFETY: this process has one thread, so no lock can be held by a thread that the child lacks.
        match unsafe { fork() }? {
            ForkResult::Child => {
                // Its parent ends it otherwise; no descriptor would outlive what that closes for the emulator's sake.
                let is_tied =
                    prctl::set_pdeathsig(Signal::SIGKILL).is_ok() && getppid().as_raw().unsigned_abs() == parent;
                let milliseconds = i32::try_from(seconds.saturating_mul(1000)).unwrap_or(i32::MAX);
                let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
                if is_tied && poll(&mut [], timeout) == Ok(0) {
                    end_restore(parent, seconds, highest);
                }
                // SAFETY: it takes no pointer; unlike `exit` it leaves what the parent owns too alone.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => Ok(Self { process: child }),
        }
    }
}

impl Drop for Cap {
    fn drop(&mut self) {
        let _ = kill(self.process, Signal::SIGKILL);
        let _ = crate::process::exit_status(self.process);
    }
}

/// Kills what `parent` runs under its emulator, and says how far that was.
fn end_restore(parent: u32, seconds: u64, highest: Option<i32>) {
    let own = fs::read_link("/proc/self/exe").ok();
    let is_other = |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).ok() != own;
    let running = || descendants_of(parent).into_iter().filter(is_other).collect::<Vec<_>>();
    let restored = running();
    let mut told = format!("not restored within {seconds} s");
    let groups =
        ps::sockets().into_iter().filter_map(|socket| query_status(&socket).ok()).flat_map(|status| status.groups);
    let reached =
        groups.filter(|group| restored.contains(&group.creator_pid.unsigned_abs())).map(|group| group.cursor).max();
    if let (Some(reached @ 1..), Some(highest)) = (reached, highest) {
        let all = seconds as f64 * f64::from(highest) / f64::from(reached);
        let _ = write!(told, ": wd {reached:#x} is reached, wd {highest:#x} would take some {all:.0} s");
    }
    notice(told);
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        let left = running();
        if left.is_empty() {
            break;
        }
        for pid in left {
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
        std::thread::yield_now();
    }
}

/// In CRIU's script: gives the restored instances of the program what CRIU has not, before it goes on.
///
/// # Errors
/// The checkpoint cannot be read, or an instance of it is not there or does not take it.
pub fn fill(file: &Path) -> anyhow::Result<()> {
    if nested::is_emulated() {
        return Err(nested::execute_again(&Inherited::take()?).into());
    }
    let checkpoint = read_checkpoint(file)?;
    let address = std::env::var_os(SOCKET).ok_or_else(|| anyhow!("{SOCKET} is not set"))?;
    let address = fdinfo::address(address.as_bytes());
    for instance in &checkpoint.instances {
        let id = instance.id;
        fill_one(&address, &checkpoint, instance).with_context(|| format!("instance {id} is not complete"))?;
    }
    Ok(())
}

fn fill_one(address: &fdinfo::Address, checkpoint: &Checkpoint, instance: &Instance) -> anyhow::Result<()> {
    let descriptor = instance.descriptors.first().ok_or_else(|| anyhow!("no descriptor of it is known"))?;
    let process = PathBuf::from(format!("/proc/{}", descriptor.pid));
    let link = fdinfo::link(&process, descriptor.fd)
        .with_context(|| format!("process {} has no descriptor {}", descriptor.pid, descriptor.fd))?;
    let inode = fdinfo::socket_inode(&link).ok_or_else(|| anyhow!("{} is no emulated instance", link.display()))?;
    // Before Linux 5.6 there is none: what has happened since the watches were made stands in front of the queue then.
    let theirs = checkpoint::duplicate(descriptor.pid, descriptor.fd).ok();
    checkpoint::fill(&address.borrowed(), checkpoint, instance, theirs, inode)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_criu_are_found() {
        let of = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(Into::into).collect();
            value(&arguments, "-D", "--images-dir")
        };
        for arguments in [&["dump", "-D", "x"][..], &["-Dx"], &["--images-dir", "x", "-t", "1"], &["--images-dir=x"]] {
            assert_eq!(of(arguments), Some("x".into()), "{arguments:?}");
        }
        assert_eq!(of(&["dump", "-t", "1", "--images-directory=x"]), None);
    }

    #[test]
    fn a_script_acts_at_its_point_alone() {
        let script = Script::new("post-dump", &[OsStr::new("--version"), OsStr::new("it's")]).unwrap();
        let text = fs::read_to_string(script.path()).unwrap();
        assert!(
            text.contains("= post-dump ] || exit 0\nexec '") && text.ends_with("'--version' 'it'\\''s'\n"),
            "{text}"
        );
        let ended = Command::new(script.path()).env("CRTOOLS_SCRIPT_ACTION", "pre-dump").output().unwrap();
        assert!(ended.status.success());
        let folder = script.folder.clone();
        drop(script);
        assert!(!folder.exists());
    }
}
