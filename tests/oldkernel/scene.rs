//! A kernel, a program for one libc, and a room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use libtest_mimic::Failed;
use uinotify::program::Obstacle;
use uinotify_harness::old_kernel::OldKernel;

use crate::room::{Ended, Room};

/// The number that the tests ask for.
pub(super) const NUMBER: &str = "0x34d71d6";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Libc {
    Machine,
    Musl,
}

impl Libc {
    pub(super) const ALL: [Self; 2] = [Self::Machine, Self::Musl];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Machine => "libc",
            Self::Musl => "musl",
        }
    }

    fn compiler(self) -> &'static str {
        match self {
            Self::Machine => "cc",
            Self::Musl => "musl-gcc",
        }
    }

    /// Why there is no program for it.
    pub(super) fn missing(self) -> Option<String> {
        let tried = Command::new(self.compiler()).arg("--version").output();
        tried.err().map(|error| format!("{}: {error}", self.compiler()))
    }
}

/// Compiles a source beside this test, once, and tells where the result is.
pub(super) fn compiled(compiler: &str, source: &str, options: &[&str]) -> Result<PathBuf, Failed> {
    static COMPILING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("oldkernel-{}-{source}", std::process::id()));
    let path = path.with_extension(compiler);
    if path.exists() {
        return Ok(path);
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oldkernel").join(source);
    let built =
        Command::new(compiler).args(["-Wall", "-Werror", "-o"]).arg(&path).arg(source).args(options).output()?;
    if !built.status.success() {
        return Err(String::from_utf8_lossy(&built.stderr).into_owned().into());
    }
    Ok(path)
}

/// Takes what was compiled away.
pub(super) fn clean_up() {
    let own = format!("oldkernel-{}-", std::process::id());
    for entry in fs::read_dir(env!("CARGO_TARGET_TMPDIR")).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&own) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

pub(super) struct Scene {
    pub(super) kernel: OldKernel,
    pub(super) room: Room,
    program: PathBuf,
    double: PathBuf,
    /// The command is one into which the double can be loaded.
    pub(super) is_doubled: bool,
}

/// The command that is tested: the one of this build, or that of `UINOTIFY_TEST_COMMAND`, a release.
pub(super) fn uinotify() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        std::env::var("UINOTIFY_TEST_COMMAND").unwrap_or_else(|_| env!("CARGO_BIN_EXE_uinotify").to_owned())
    })
}

impl Scene {
    pub(super) fn new(kernel: OldKernel, libc: Libc) -> Result<Self, Failed> {
        let program = compiled(libc.compiler(), "program.c", &[])?;
        let double = compiled("cc", "fuse_double.c", &["-shared", "-fPIC", "-ldl"])?;
        let obstacle = uinotify::program::obstacle(Path::new(uinotify()), uinotify::shim_file::SHIM);
        let is_doubled = obstacle.is_none_or(|found| found.obstacle != Obstacle::Static);
        Ok(Self { kernel, room: Room::new(), program, double, is_doubled })
    }

    pub(super) fn program(&self) -> &str {
        text(&self.program)
    }

    /// A folder that is empty.
    pub(super) fn folder(&self, name: &str) -> Result<String, Failed> {
        let path = self.room.path(name);
        fs::create_dir_all(&path)?;
        Ok(text(&path.canonicalize()?).to_owned())
    }

    /// uinotify on the old kernel, with its protocol of FUSE.
    pub(super) fn uinotify(&self, arguments: &[&str]) -> Command {
        let mut command = self.room.command(uinotify(), arguments);
        if self.is_doubled {
            self.kernel.limit_fuse(&mut command, &self.double, &self.room.path("journal"));
        }
        self.kernel.confine(&mut command);
        command
    }

    /// The same, to its end.
    pub(super) fn end(&self, arguments: &[&str]) -> Ended {
        self.room.end(&mut self.uinotify(arguments))
    }

    /// A command on the old kernel that is not uinotify.
    pub(super) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.room.command(program, arguments);
        self.kernel.confine(&mut command);
        command
    }

    /// What the program says natively, on this machine's own kernel, when it watches an empty folder.
    pub(super) fn native(&self) -> Result<String, Failed> {
        let folder = self.folder("native")?;
        let ended = self.room.end(&mut self.room.command(self.program(), &["watch", &folder, NUMBER]));
        assert_eq!((ended.status, &*ended.stderr), (Some(0), ""), "{}", ended.stdout);
        Ok(ended.stdout)
    }

    /// The numbers of what the kernel has asked, and what it was answered first.
    pub(super) fn journal(&self) -> Vec<(String, u32)> {
        let text = fs::read_to_string(self.room.path("journal")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        lines.map(|(what, number)| (what.to_owned(), number.parse().expect("a number"))).collect()
    }
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}
