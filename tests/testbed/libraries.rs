//! The libraries for other languages, by their own tests and examples.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::Completion;

type Outcome = Result<Completion, libtest_mimic::Failed>;

fn bindings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("emu/bindings")
}

/// A Python that finds the package.
fn python() -> Command {
    let mut command = Command::new("python3");
    let before = std::env::var_os("PYTHONPATH").unwrap_or_default();
    let mut path = bindings().join("python").into_os_string();
    path.push(":");
    path.push(before);
    command
        .env("PYTHONPATH", path)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("UINOTIFY_COMMAND", env!("CARGO_BIN_EXE_uinotify"))
        .stdin(Stdio::null());
    command
}

/// Ignored, with this reason.
fn ignored(name: &str, reason: &str) -> Completion {
    println!("ignored: {name}: {reason}");
    Completion::ignored_with(reason.to_owned())
}

fn ends_well(command: &mut Command) -> Result<String, libtest_mimic::Failed> {
    let output = command.output()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() { Ok(said) } else { Err(format!("{command:?}: {}\n{said}", output.status).into()) }
}

/// Compiles a program with the header. `None` where there is no compiler.
fn compiled(source: &Path, folder: &Path) -> Result<Option<PathBuf>, libtest_mimic::Failed> {
    let started = |program: &str| Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !started("gcc") {
        return Ok(None);
    }
    let program = folder.join("program");
    let mut flags = vec![format!("-I{}", bindings().join("c").display())];
    if started("pkg-config") {
        // As it is installed: beside the header.
        let template = std::fs::read_to_string(bindings().join("c/uinotify.pc.in"))?;
        let prefix = folder.join("installed");
        std::fs::create_dir_all(prefix.join("include"))?;
        std::fs::copy(bindings().join("c/uinotify-testbed.h"), prefix.join("include/uinotify-testbed.h"))?;
        let prefix = prefix.to_str().ok_or("a UTF-8 path")?.to_owned();
        let module = template.replace("@prefix@", &prefix).replace("@version@", env!("CARGO_PKG_VERSION"));
        std::fs::write(folder.join("uinotify.pc"), module)?;
        let mut asked = Command::new("pkg-config");
        let said = ends_well(asked.env("PKG_CONFIG_PATH", folder).args(["--cflags", "uinotify"]))?;
        flags = said.split_whitespace().map(str::to_owned).collect();
        assert_eq!(flags, [format!("-I{prefix}/include")]);
    }
    let mut compiler = Command::new("gcc");
    compiler.args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2"]).args(flags).arg("-o").arg(&program);
    ends_well(compiler.arg(source))?;
    Ok(Some(program))
}

fn c_program(name: &str, source: &Path, expected: &str) -> Outcome {
    let folder = tempfile::tempdir()?;
    let Some(program) = compiled(source, folder.path())? else { return Ok(ignored(name, "needs gcc")) };
    let output = Command::new(program).env("UINOTIFY_COMMAND", env!("CARGO_BIN_EXE_uinotify")).output()?;
    let [said, complaints] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert_eq!((output.status.code(), &*said), (Some(0), expected), "{complaints}");
    Ok(Completion::Completed)
}

/// Every function of the header.
pub(super) fn c_header() -> Outcome {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testbed/calls.c");
    c_program("libraries::c_header", &source, "every function does what it says\n")
}

/// The example beside it.
pub(super) fn c_example() -> Outcome {
    let expected = "watched as 2147483647, the next one is 1\nseen 3, and some are lost\n1 overflow\n";
    c_program("libraries::c_example", &bindings().join("c/overflow.c"), expected)
}

/// The tests of the package, by pytest.
pub(super) fn python_package() -> Outcome {
    if !python().args(["-c", "import pytest"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return Ok(ignored("libraries::python_package", "needs pytest for python3"));
    }
    let tests = bindings().join("python/tests");
    let mut command = python();
    command.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]).arg(tests);
    let said = ends_well(command.env("UINOTIFY_PUPPET", std::env::current_exe()?))?;
    let count = said.lines().last().and_then(|line| line.split(" passed").next()?.parse::<usize>().ok());
    if count.is_some_and(|count| count >= 9) { Ok(Completion::Completed) } else { Err(said.into()) }
}

/// The example of its README.
pub(super) fn python_example() -> Outcome {
    let starts =
        |program: &str| Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
    for (program, package) in [("python3", "python3"), ("inotifywait", "inotify-tools")] {
        if starts(program).is_err() {
            return Ok(ignored("libraries::python_example", &format!("needs {package}")));
        }
    }
    let said = ends_well(python().arg(bindings().join("python/examples/overflow.py")))?;
    let (first, rest) = said.split_once('\n').ok_or("lines")?;
    assert!(first.ends_with(" watches the folder, as 1"), "{first}");
    assert_eq!(rest, "FOLDER/ CREATE new\nFOLDER/ OPEN new\n1 overflow, 1 watch\n");
    Ok(Completion::Completed)
}
