//! The two kinds of descriptor, line by line.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Failed;

use crate::expected::{Expected, expected_rows, fits};
use crate::row::MISSING;

/// What becomes of a program's descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The kernel's own.
    Native,
    /// Under `uinotify run`.
    Emulated,
    /// The same with `UINOTIFY_SETTLE=request`.
    ByRequest,
}

/// Runs this binary as the program of that name, and gives what it has said.
pub(crate) fn run(side: Side, room: &Path, name: &str, folder: &Path) -> Result<String, Failed> {
    let arguments = [crate::ARGUMENT.as_ref(), name.as_ref(), folder.as_os_str()];
    run_file(side, room, &std::env::current_exe()?, &arguments)
}

/// Runs a program, and gives what it has said.
pub(crate) fn run_file(side: Side, room: &Path, file: &Path, arguments: &[&OsStr]) -> Result<String, Failed> {
    let mut command = if side == Side::Native {
        Command::new(file)
    } else {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uinotify"));
        // Calls by number that are not the shim's are the kernel's.
        command.args(["run", "--interpose", "preload", "--"]).arg(file);
        command
    };
    command.args(arguments);
    for name in ["LD_PRELOAD", "UINOTIFY_SOCKET", "UINOTIFY_DISABLE", "UINOTIFY_LOG", "UINOTIFY_SETTLE"] {
        command.env_remove(name);
    }
    command.env("XDG_RUNTIME_DIR", room).env("UINOTIFY_LOG", room.join("log")).env("RUST_LIB_BACKTRACE", "0");
    if side == Side::ByRequest {
        command.env("UINOTIFY_SETTLE", "request");
    }
    // Files, not pipes: an emulator that is left holds its standard error.
    let (output, error) = (room.join("output"), room.join("error"));
    let status = command.stdin(Stdio::null()).stdout(File::create(&output)?).stderr(File::create(&error)?).status()?;
    let said = String::from_utf8_lossy(&fs::read(&output)?).into_owned();
    if status.success() {
        return Ok(said);
    }
    let log = fs::read_to_string(room.join("log")).unwrap_or_default();
    Err(format!("{arguments:?} ({side:?}) ended with {status}\n{said}{}{log}", fs::read_to_string(&error)?).into())
}

/// Every row on both sides.
pub(crate) fn side_by_side() -> Result<(), Failed> {
    let room = tempfile::tempdir()?;
    let folder = room.path().join("folder");
    fs::create_dir_all(folder.join("watched"))?;
    let native = run(Side::Native, room.path(), crate::TABLE, &folder)?;
    let native = results(&native)?;
    let mut reports = String::new();
    for side in [Side::Emulated, Side::ByRequest] {
        let emulated = results(&run(side, room.path(), crate::TABLE, &folder)?)?;
        let report = differences(&native, &emulated)?;
        if !report.is_empty() {
            writeln!(reports, "{side:?}\n{report}")?;
        }
    }
    if reports.is_empty() { Ok(()) } else { Err(reports.into()) }
}

/// What is not as it should be.
fn differences(native: &BTreeMap<String, String>, emulated: &BTreeMap<String, String>) -> Result<String, Failed> {
    let rows = native.len();
    let all_expected: Vec<_> = expected_rows().collect();
    let mut report = String::new();
    let mut met = BTreeSet::new();
    let mut skipped = Vec::new();
    for row in crate::table::rows() {
        let (Some(native), Some(emulated)) = (native.get(row.name()), emulated.get(row.name())) else {
            return Err(format!("no result of {}", row.name()).into());
        };
        if native.starts_with(MISSING) {
            skipped.push(row.name().split('(').next().unwrap_or_default().to_owned());
            continue;
        }
        let expected = all_expected.iter().position(|expected| fits(expected.row, row.name()));
        if native == emulated && expected.is_none() {
            continue;
        }
        if let Some(index) = expected
            && let Expected { native: one, emulated: other, .. } = *all_expected[index]
            && native != emulated
            && fits(one, native)
            && fits(other, emulated)
        {
            met.insert(index);
            continue;
        }
        let known = expected.map_or(String::new(), |index| format!(" ({})", all_expected[index].id));
        writeln!(report, "{}{known}\n    native   {native}\n    emulated {emulated}", row.name())?;
    }
    for (index, expected) in all_expected.iter().enumerate().filter(|(index, _)| !met.contains(index)) {
        writeln!(report, "{} ({}) is not met: number {index}", expected.row, expected.id)?;
    }
    skipped.dedup();
    println!("{} rows, {} of them differ; not in this libc: {}", rows, met.len(), skipped.join(" "));
    Ok(report)
}

/// Results by row.
fn results(said: &str) -> Result<BTreeMap<String, String>, Failed> {
    let mut results = BTreeMap::new();
    for line in said.lines() {
        let (row, result) = line.split_once('\t').ok_or_else(|| format!("not a row: {line}"))?;
        if results.insert(row.to_owned(), result.to_owned()).is_some() {
            return Err(format!("two rows are {row}").into());
        }
    }
    Ok(results)
}
