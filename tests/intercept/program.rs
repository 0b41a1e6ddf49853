//! The programs: how they are built, and what is compared of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, OnceLock};

use tempfile::TempDir;

use crate::room::{Outcome, Room, compare, end, for_all};

/// Where Debian puts packages of Go.
const GO_PACKAGES: &str = "/usr/share/gocode";
const FSNOTIFY: &str = "github.com/fsnotify/fsnotify";

/// One that is built when it is first asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Program {
    /// `calls.c`, static, with musl's functions.
    MuslStatic,
    /// `calls.c` in a dynamic program, by `syscall` and numbers.
    ByNumber,
    /// `calls.c` by the interface for 32-bit programs.
    Compat,
    /// `short.c`, static.
    Short,
    /// `ring.c`.
    Ring,
    /// `watch/main.go`.
    GoWatch,
    /// `cursor/main.go`.
    GoCursor,
    /// The tests of fsnotify itself.
    GoOwnTests,
}

/// Everything that was built; it goes with the test.
static FOLDER: OnceLock<TempDir> = OnceLock::new();

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::MuslStatic => "musl-static",
            Self::ByNumber => "by-number",
            Self::Compat => "compat",
            Self::Short => "short",
            Self::Ring => "ring",
            Self::GoWatch => "go-watch",
            Self::GoCursor => "go-cursor",
            Self::GoOwnTests => "fsnotify.test",
        }
    }

    /// Why it cannot be built here.
    pub(super) fn missing(self) -> Option<String> {
        let has = |command: &str| Command::new(command).arg("--help").output().is_ok();
        match self {
            Self::MuslStatic | Self::Short => (!has("musl-gcc")).then(|| "needs musl-tools".to_owned()),
            Self::ByNumber => (!has("cc")).then(|| "needs a C compiler".to_owned()),
            Self::Compat => {
                // A static program of a libc that is there, and a kernel with the interface.
                if !has("cc") {
                    return Some("needs a C compiler".to_owned());
                }
                self.build().err().map(|_| "needs a C compiler that links statically".to_owned())
            }
            Self::Ring if !has("cc") => Some("needs a C compiler".to_owned()),
            Self::Ring => {
                const NO_RING: i32 = 77;
                let room = Room::new();
                let program = self.path();
                let ended = end(&mut room.command(program, &[&room.folder("probe")]));
                (ended.status == Some(NO_RING)).then(|| "needs io_uring".to_owned())
            }
            Self::GoWatch | Self::GoCursor | Self::GoOwnTests if !has("go") => Some("needs golang".to_owned()),
            Self::GoWatch | Self::GoOwnTests if !Path::new(GO_PACKAGES).join("src").join(FSNOTIFY).exists() => {
                Some("needs golang-github-fsnotify-fsnotify-dev".to_owned())
            }
            Self::GoWatch | Self::GoCursor | Self::GoOwnTests => None,
        }
    }

    /// The program's file.
    pub(super) fn path(self) -> PathBuf {
        self.build().unwrap_or_else(|problem| panic!("{self:?} cannot be built: {problem}"))
    }

    fn build(self) -> Result<PathBuf, String> {
        static BUILT: LazyLock<Mutex<HashMap<Program, Result<PathBuf, String>>>> = LazyLock::new(Mutex::default);
        let mut built = BUILT.lock().expect("no build panics");
        built.entry(self).or_insert_with(|| self.build_anew()).clone()
    }

    fn build_anew(self) -> Result<PathBuf, String> {
        let folder = FOLDER.get_or_init(|| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            for_all(folder.path());
            folder
        });
        let path = folder.path().join(self.name());
        let source = |name: &str| format!("{}/tests/intercept/programs/{name}", env!("CARGO_MANIFEST_DIR"));
        let compiler = |name: &str, options: &[&str], file: &str| {
            let mut command = Command::new(name);
            command.args(["-Wall", "-Wno-unused-result", "-Werror", "-pthread"]).args(options);
            command.arg("-o").arg(&path).arg(source(file));
            command
        };
        let go = |arguments: &[&str]| {
            let mut command = Command::new("go");
            // Without cgo there is no libc in it.
            command.env("CGO_ENABLED", "0").env("GO111MODULE", "off").env("GOPATH", GO_PACKAGES).env("GOFLAGS", "");
            command.env("GOCACHE", folder.path().join("cache")).args(arguments).arg("-o").arg(&path);
            command
        };
        let mut command = match self {
            Self::MuslStatic => compiler("musl-gcc", &["-static"], "calls.c"),
            Self::ByNumber => compiler("cc", &["-DRAW"], "calls.c"),
            Self::Compat => compiler("cc", &["-DCOMPAT", "-static", "-no-pie"], "calls.c"),
            Self::Short => compiler("musl-gcc", &["-static"], "short.c"),
            Self::Ring => compiler("cc", &[], "ring.c"),
            Self::GoWatch => {
                let mut command = go(&["build"]);
                command.arg(source("watch/main.go"));
                command
            }
            Self::GoCursor => {
                let mut command = go(&["build"]);
                command.arg(source("cursor/main.go"));
                command
            }
            Self::GoOwnTests => {
                let mut command = go(&["test", "-c"]);
                command.arg(FSNOTIFY);
                command
            }
        };
        let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        for_all(&path);
        Ok(path)
    }

    fn text(self) -> String {
        self.path().to_str().expect("UTF-8").to_owned()
    }
}

/// The ways in which a static program is reached.
const STATIC: &[&[&str]] = &[&[], &["--interpose", "seccomp"], &["--interpose", "seccomp,reads"]];
/// Where no signal disturbs a call that is being answered: see [`few_calls_are_made_twice`].
const UNDISTURBED: &[&[&str]] = &[&[], &["--interpose", "seccomp"]];
/// And a dynamic one.
const DYNAMIC: &[&[&str]] =
    &[&[], &["--interpose", "seccomp"], &["--interpose", "both"], &["--interpose", "both,reads"]];

macro_rules! acts {
    ($program:expr, $ways:expr, $($name:literal),*) => {
        vec![$(($name, (|| compare(&[&$program.text(), $name], $ways)) as fn() -> Outcome)),*]
    };
}

/// What is done, by its name.
pub(super) type Act = (&'static str, fn() -> Outcome);

/// What each variant of `calls.c` does.
pub(super) fn acts(program: Program) -> Vec<Act> {
    match program {
        Program::MuslStatic => {
            let mut acts = acts!(Program::MuslStatic, STATIC, "work", "places", "threads", "killed", "raced");
            acts.extend(acts!(Program::MuslStatic, UNDISTURBED, "interrupted"));
            acts
        }
        Program::ByNumber => acts!(Program::ByNumber, DYNAMIC, "work", "threads"),
        Program::Compat => acts!(Program::Compat, STATIC, "work"),
        _ => Vec::new(),
    }
}

/// DIFF-62: what Linux before 5.19 does with any filter it does here with one that takes reads. A signal disturbs the thread while its call
/// is answered, and the call is made again; but for the one instant that the kernel leaves open, it is not done again.
pub(super) fn few_calls_are_made_twice() -> Outcome {
    let room = Room::new();
    let command = [&*Program::MuslStatic.text(), "interrupted", &room.folder("watched")].map(str::to_owned);
    let command: Vec<_> = command.iter().map(String::as_str).collect();
    let ended = end(&mut room.run(&["--interpose", "seccomp,reads"], &command));
    let wrong = ended.stdout.trim_end().strip_prefix("signals: 1, wrong: ").and_then(|count| count.parse::<u32>().ok());
    assert!(wrong.is_some_and(|wrong| wrong <= FEW), "{ended:?}");
    Ok(())
}

/// Of some 1600 calls and fifty signals.
const FEW: u32 = 3;

pub(super) fn reads_into_little_room() -> Outcome {
    compare(&[&Program::Short.text()], &[&["--interpose", "seccomp,reads"], &["--interpose", "both,reads"]])
}

/// DIFF-61: and `-v` says so.
pub(super) fn a_short_read_is_cut_without() -> Outcome {
    let room = Room::new();
    let (program, folder) = (Program::Short.text(), room.folder("watched"));
    let ended = end(&mut room.run(&["-v", "--interpose", "seccomp"], &[&program, &folder]));
    // Linux says EINVAL, and keeps the event.
    assert!(ended.stdout.contains("read of 16: 16\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("still there: 0 0\n"), "{}", ended.stdout);
    let stderr = room.stderr();
    assert!(stderr.contains("of an event that does not fit into its buffer the rest is lost"), "{stderr}");
    end(&mut room.run(&["-v", "--interpose", "seccomp,reads"], &[&program, &room.folder("again")]));
    let stderr = room.stderr();
    assert!(stderr.contains("read past the shim") && !stderr.contains("is lost"), "{stderr}");
    Ok(())
}

pub(super) fn io_uring_reads() -> Outcome {
    compare(&[&Program::Ring.text()], &[&[], &["--interpose", "seccomp"], &["--interpose", "both"]])
}

pub(super) fn go_watches() -> Outcome {
    compare(&[&Program::GoWatch.text()], &[&[], &["--interpose", "seccomp"]])
}

/// A program without libc gets the watch descriptor that it had before, where the kernel need not have the ioctl.
pub(super) fn go_restores_a_cursor() -> Outcome {
    let room = Room::new();
    let expected = "asked for wd 0x34d71d6, got 0x34d71d6\nevent on wd 0x34d71d6, mask 0x100, name new\n";
    for (index, options) in [&[][..], &["--interpose", "seccomp"], &["--interpose", "seccomp,reads"]].iter().enumerate()
    {
        let folder = room.folder(&index.to_string());
        let ended = end(&mut room.run(options, &[&Program::GoCursor.text(), &folder]));
        assert_eq!((ended.status, &*ended.stdout), (Some(0), expected), "{}", room.stderr());
    }
    Ok(())
}

/// Makes 131072 files in parallel and gives each thread ten seconds for it, which not every machine can: `UINOTIFY_LONG`.
const LONG: &str = "TestInotifyOverflow";

/// Each test of fsnotify has the same result.
pub(super) fn fsnotifys_own_tests() -> Outcome {
    let room = Room::new();
    let program = Program::GoOwnTests.text();
    let list = end(&mut room.command(&program, &["-test.list", "."]));
    let is_long = std::env::var_os("UINOTIFY_LONG").is_some();
    let names: Vec<_> =
        list.stdout.lines().filter(|name| name.starts_with("Test") && (is_long || *name != LONG)).collect();
    assert!(names.len() > 10, "{names:?}");
    let pattern = format!("^({})$", names.join("|"));
    let results = |ended: String| -> Vec<String> {
        let lines = ended.lines().map(str::trim_start).filter(|line| line.starts_with("--- "));
        // Without the time that it took. Those that run in parallel end in any order.
        let mut results: Vec<_> = lines.filter_map(|line| line.split(" (").next()).map(str::to_owned).collect();
        results.sort_unstable();
        results
    };
    // The stress test, which lasts for a second then and else for half a minute.
    let short = if is_long { "-test.short=false" } else { "-test.short" };
    let arguments = ["-test.v", short, "-test.run", &pattern];
    let native = results(end(&mut room.command(&program, &arguments)).stdout);
    assert!(native.len() > 40 && native.iter().any(|line| line == "--- PASS: TestWatch"), "{native:?}");
    let emulated = end(&mut room.run(&[], &[&[&*program], &arguments[..]].concat()));
    let (stdout, emulated) = (emulated.stdout.clone(), results(emulated.stdout));
    if emulated != native {
        return Err(format!("--- native\n{native:#?}\n--- emulated\n{emulated:#?}\n{stdout}").into());
    }
    Ok(())
}
