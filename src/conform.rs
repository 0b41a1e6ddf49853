//! `uinotify conform`: the rules of docs/semantics.md, tried on this machine's inotify and on the emulator's.
//!
//! Each rule has lists of operations. The kernel's results are compared with what the lists expect and with a model, which is the core's
//! rules on a tree in memory; the emulator's with the kernel's.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use uinotify_harness::case::Case;
use uinotify_harness::compare::compare;
use uinotify_harness::needs::Need;
use uinotify_harness::subject::{Kind, Pool};
use uinotify_harness::trace::Trace;
use uinotify_harness::{cases, execute, model};

/// Version of the JSON.
const SCHEMA: u32 = 1;

/// What `uinotify conform` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Try this machine's own inotify alone: of any kernel, or of what stands in for one
    #[arg(long)]
    native: bool,

    /// Where the emulator's events come from
    #[arg(long, value_enum, value_name = "SOURCE", default_value_t = SourceArgument::Auto, conflicts_with = "native")]
    source: SourceArgument,

    /// Only rules whose id begins so, such as WD or MERGE-2
    #[arg(long, value_name = "ID")]
    only: Vec<String>,

    /// Print JSON
    #[arg(long, conflicts_with_all = ["tap", "md"])]
    json: bool,

    /// Print the lines of the Test Anything Protocol
    #[arg(long, conflicts_with = "md")]
    tap: bool,

    /// Print a table in Markdown, by rule
    #[arg(long)]
    md: bool,

    /// Where the lists make their folders: the file system that is tried
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SourceArgument {
    /// The most faithful one that works
    Auto,
    /// The kernel's own inotify
    Inotify,
    /// A file system that shows DIR
    Fuse,
    /// Marks of fanotify
    Fanotify,
}

/// What became of one list on one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "why")]
enum Verdict {
    Pass,
    Fail(String),
    /// The machine lacks something.
    Skipped(String),
    /// Nobody says what has to come.
    Unjudged,
}

impl Verdict {
    const fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "FAIL",
            Self::Skipped(_) => "skipped",
            Self::Unjudged => "unjudged",
        }
    }

    const fn why(&self) -> Option<&String> {
        match self {
            Self::Fail(why) | Self::Skipped(why) => Some(why),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct Row {
    rules: Vec<String>,
    name: String,
    kernel: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    emulator: Option<Verdict>,
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    machine: String,
    source: Option<String>,
    cases: &'a [Row],
}

/// The ids in front of a list's name.
fn rules(name: &str) -> Vec<String> {
    let is_id = |word: &&str| {
        let (letters, number) = word.split_once('-').unwrap_or_default();
        !letters.is_empty()
            && letters.bytes().all(|byte| byte.is_ascii_uppercase())
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    name.split(' ').take_while(is_id).map(str::to_owned).collect()
}

/// Tries the rules, and prints what has come of it. False if any is not shown.
///
/// # Errors
/// There is no such rule, the folder cannot be used, or standard output cannot be written.
pub fn conform(arguments: &Arguments) -> anyhow::Result<bool> {
    let chosen: Vec<Case> = cases::all()
        .into_iter()
        .filter(|case| {
            let is_meant = |rule: &String| arguments.only.iter().any(|only| is_of(rule, only));
            arguments.only.is_empty() || rules(case.name).iter().any(is_meant)
        })
        .collect();
    ensure!(!chosen.is_empty(), "no rule has an id that begins with {}", arguments.only.join(" or "));
    let program = std::env::current_exe().context("cannot find this program")?;
    let own = tempfile::Builder::new().prefix("uinotify-conform-").tempdir_in(match &arguments.folder {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir(),
    });
    let own = own.with_context(|| "cannot make a folder for the lists".to_owned())?;
    // Lists become other users.
    std::fs::set_permissions(own.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777))?;
    let native = Pool::new(Kind::native(program.clone()).folder(own.path().to_owned()));
    let emulated = (!arguments.native).then(|| Pool::new(emulated(arguments.source, program, own.path())));
    let rows = tried(&chosen, &native, emulated.as_ref(), arguments.source);
    drop((native, emulated));

    let source = (!arguments.native).then(|| format!("{:?}", arguments.source).to_lowercase());
    let report = Report { schema: SCHEMA, machine: machine(), source, cases: &rows };
    let text = if arguments.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else if arguments.tap {
        tap(&rows)
    } else if arguments.md {
        markdown(&report)
    } else {
        plain(&report)
    };
    match io::stdout().write_all(text.as_bytes()) {
        // The reader, such as `head`, has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.context("cannot write to standard output")?,
    }
    Ok(rows.iter().flat_map(verdicts).all(|verdict| !matches!(verdict, Verdict::Fail(_))))
}

/// `WD` means all of them, `WD-1` not WD-10.
fn is_of(rule: &str, only: &str) -> bool {
    rule == only || rule.split_once('-').is_some_and(|(letters, _)| letters == only)
}

fn emulated(source: SourceArgument, program: PathBuf, folder: &Path) -> Kind {
    let name = match source {
        SourceArgument::Auto => "auto",
        SourceArgument::Inotify => "inotify",
        SourceArgument::Fuse => "fuse",
        SourceArgument::Fanotify => "fanotify",
    };
    let mut arguments = vec!["--source".into(), name.into()];
    if source == SourceArgument::Fuse {
        arguments.extend(["--tree".into(), folder.into()]);
    }
    Kind::emulated(program.clone(), program, arguments).folder(folder.to_owned())
}

/// Tries all lists, several at a time: a list mostly waits for the kernel.
fn tried(chosen: &[Case], native: &Pool, emulated: Option<&Pool>, source: SourceArgument) -> Vec<Row> {
    let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} lists");
    let bar = ProgressBar::new(chosen.len() as u64);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    let needs = Mutex::new(HashMap::new());
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some((index, case)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            chosen.get(index).map(|case| (index, case))
        } {
            let row = row(case, native, emulated, source, &needs);
            lock(&rows).insert(index, row);
            bar.inc(1);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    bar.finish_and_clear();
    rows.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_values().collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn row(
    case: &Case,
    native: &Pool,
    emulated: Option<&Pool>,
    source: SourceArgument,
    needs: &Mutex<HashMap<Need, Option<String>>>,
) -> Row {
    let lacks = |need: Need| {
        lock(needs)
            .entry(need)
            .or_insert_with(|| need.probe().err().map(|error| format!("needs {need:?}: {error:#}")))
            .clone()
    };
    let own = match source {
        SourceArgument::Fuse => Some(Need::Fuse),
        SourceArgument::Fanotify => Some(Need::Fanotify),
        _ => None,
    };
    let missing = case.needs.iter().find_map(|need| lacks(*need));
    let missing_for_source = own.and_then(lacks).or_else(|| missing.clone());
    let (name, rules) = (case.name.to_owned(), rules(case.name));
    if let Some(missing) = missing {
        let skipped = Verdict::Skipped(missing);
        return Row { rules, name, emulator: emulated.map(|_| skipped.clone()), kernel: skipped };
    }
    let shown = native.run(&case.list);
    let emulator = emulated.map(|emulated| match missing_for_source {
        Some(missing) => Verdict::Skipped(missing),
        None => match compare(&case.list, &shown, &emulated.run(&case.list), &case.asserted) {
            Ok(()) => Verdict::Pass,
            Err(difference) => Verdict::Fail(difference.to_string()),
        },
    });
    Row { rules, name, kernel: judged(case, &shown), emulator }
}

/// What the list expects, and what the model makes of it.
fn judged(case: &Case, shown: &Trace) -> Verdict {
    if let Err(error) = case.check(shown) {
        return Verdict::Fail(format!("{error:#}"));
    }
    match model::run(&case.list) {
        Ok(modelled) => {
            let list = &case.list;
            let [shown, modelled] = [shown.clone(), modelled].map(|trace| model::without_directory_sizes(list, trace));
            match compare(list, &shown, &modelled, &[]) {
                Ok(()) => Verdict::Pass,
                Err(difference) => Verdict::Fail(difference.to_string()),
            }
        }
        Err(_) if case.is_expected() => Verdict::Pass,
        Err(_) => Verdict::Unjudged,
    }
}

fn verdicts(row: &Row) -> impl Iterator<Item = &Verdict> {
    [&row.kernel].into_iter().chain(&row.emulator)
}

/// What was tried.
fn machine() -> String {
    let part = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
    nix::sys::utsname::uname().map_or_else(
        |_| "an unknown machine".to_owned(),
        |name| format!("{} {} {}", part(name.sysname()), part(name.release()), part(name.machine())),
    )
}

/// The side of the emulator, for people.
fn heading(report: &Report<'_>) -> String {
    match &report.source {
        Some(source) => format!("{}, and the emulator on source {source}", report.machine),
        None => report.machine.clone(),
    }
}

fn plain(report: &Report<'_>) -> String {
    let mut text = format!("{}\n", heading(report));
    for row in report.cases {
        let words: Vec<_> = verdicts(row).map(|verdict| format!("{:8}", verdict.word())).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} {}", words.join(" "), row.name);
        for why in verdicts(row).filter_map(Verdict::why).take(1) {
            for line in why.lines() {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
    let count = |word: &str| {
        let of = |side: fn(&Row) -> Option<&Verdict>| {
            report.cases.iter().filter_map(side).filter(|verdict| verdict.word() == word).count()
        };
        let kernel = of(|row| Some(&row.kernel));
        match report.source {
            Some(_) => format!("{word} {kernel} and {}", of(|row| row.emulator.as_ref())),
            None => format!("{word} {kernel}"),
        }
    };
    let counts: Vec<_> = ["pass", "FAIL", "skipped", "unjudged"].map(count).into();
    let _ = writeln!(text, "{} lists: {}", report.cases.len(), counts.join(", "));
    text
}

fn tap(rows: &[Row]) -> String {
    let sides = |row: &Row| -> Vec<(&'static str, Verdict)> {
        let emulator = row.emulator.clone().map(|verdict| ("emulator", verdict));
        [("kernel", row.kernel.clone())].into_iter().chain(emulator).collect()
    };
    let all: Vec<_> = rows.iter().flat_map(|row| sides(row).into_iter().map(move |side| (row, side))).collect();
    let mut text = format!("TAP version 13\n1..{}\n", all.len());
    for (number, (row, (side, verdict))) in (1..).zip(&all) {
        let result = if matches!(verdict, Verdict::Fail(_)) { "not ok" } else { "ok" };
        // `#` begins a directive.
        let name = row.name.replace('#', "\\#");
        let directive = match verdict {
            Verdict::Skipped(why) => format!(" # SKIP {}", why.replace('\n', " ")),
            Verdict::Unjudged => " # SKIP nobody says what has to come".to_owned(),
            _ => String::new(),
        };
        let _ = writeln!(text, "{result} {number} - {side}: {name}{directive}");
        if let Verdict::Fail(why) = verdict {
            why.lines().for_each(|line| _ = writeln!(text, "# {line}"));
        }
    }
    text
}

/// A rule is shown if each of its lists is that was tried.
fn of_rule<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> &'static str {
    let words: Vec<_> = verdicts.map(Verdict::word).collect();
    ["FAIL", "pass", "unjudged", "skipped"].into_iter().find(|word| words.contains(word)).unwrap_or("")
}

fn markdown(report: &Report<'_>) -> String {
    let mut by_rule: BTreeMap<(String, u32), Vec<&Row>> = BTreeMap::new();
    let mut others = Vec::new();
    for row in report.cases {
        if row.rules.is_empty() {
            others.push(row);
        }
        for rule in &row.rules {
            if let Some((letters, number)) = rule.split_once('-') {
                let key = (letters.to_owned(), number.parse().unwrap_or(0));
                by_rule.entry(key).or_default().push(row);
            }
        }
    }
    let has_emulator = report.source.is_some();
    let mut text = format!("{}\n\n", heading(report));
    text.push_str(if has_emulator {
        "| Rule | Kernel | Emulator | Lists |\n| --- | --- | --- | --- |\n"
    } else {
        "| Rule | Kernel | Lists |\n| --- | --- | --- |\n"
    });
    let by_rule = by_rule.into_iter().map(|((letters, number), rows)| (format!("{letters}-{number}"), rows));
    for (rule, rows) in by_rule.chain((!others.is_empty()).then_some(("several".to_owned(), others))) {
        let kernel = of_rule(rows.iter().map(|row| &row.kernel));
        let emulator = of_rule(rows.iter().filter_map(|row| row.emulator.as_ref()));
        let emulator = if has_emulator { format!(" {emulator} |") } else { String::new() };
        let _ = writeln!(text, "| {rule} | {kernel} |{emulator} {} |", rows.len());
    }
    text
}

/// Whether this process is to do lists for another one, which has started it for that: it does them then.
///
/// # Errors
/// Its input or output is broken.
pub fn executes_lists() -> anyhow::Result<bool> {
    if std::env::args().nth(1).as_deref() != Some(execute::ARGUMENT) {
        return Ok(false);
    }
    execute::execute().map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, kernel: Verdict, emulator: Option<Verdict>) -> Row {
        Row { rules: rules(name), name: name.to_owned(), kernel, emulator }
    }

    fn rows() -> Vec<Row> {
        let skipped = || Verdict::Skipped("needs Root: not root".to_owned());
        vec![
            row("WD-10 WD-2 a # b", Verdict::Pass, Some(Verdict::Fail("3 and 4\ndiffer".to_owned()))),
            row("WD-2 c", Verdict::Unjudged, Some(Verdict::Pass)),
            row("ADD-1 d", skipped(), Some(skipped())),
            row("rename", Verdict::Pass, Some(Verdict::Pass)),
        ]
    }

    #[test]
    fn ids_stand_in_front_of_a_name() {
        assert_eq!(rules("WD-1 LIMIT-12 the first - 1"), ["WD-1", "LIMIT-12"]);
        assert_eq!(rules("a closed descriptor is EBADF to every call"), [""; 0]);
        assert!(is_of("WD-1", "WD") && is_of("WD-1", "WD-1"));
        assert!(!is_of("WD-10", "WD-1") && !is_of("WD-1", "W"));
    }

    #[test]
    fn a_table_is_by_rule() {
        let rows = rows();
        let report = |source: Option<&str>| Report {
            schema: 1,
            machine: "Linux".to_owned(),
            source: source.map(str::to_owned),
            cases: &rows,
        };
        assert_eq!(
            markdown(&report(Some("auto"))),
            "Linux, and the emulator on source auto\n\n| Rule | Kernel | Emulator | Lists |\n| --- | --- | --- | --- |\n\
             | ADD-1 | skipped | skipped | 1 |\n| WD-2 | pass | FAIL | 2 |\n| WD-10 | pass | FAIL | 1 |\n| several | pass | pass | 1 |\n"
        );
        assert!(markdown(&report(None)).contains("| WD-2 | pass | 2 |\n"));
        let plain = plain(&report(Some("auto")));
        assert!(plain.contains("pass     FAIL     WD-10 WD-2 a # b\n    3 and 4\n    differ\n"), "{plain}");
        assert!(plain.ends_with("4 lists: pass 2 and 2, FAIL 0 and 1, skipped 1 and 1, unjudged 1 and 0\n"), "{plain}");
    }

    #[test]
    fn tap_has_a_line_for_each_side() {
        let expected = "TAP version 13\n1..8\nok 1 - kernel: WD-10 WD-2 a \\# b\nnot ok 2 - emulator: WD-10 WD-2 a \\# b\n# 3 and 4\n# differ\n\
             ok 3 - kernel: WD-2 c # SKIP nobody says what has to come\nok 4 - emulator: WD-2 c\n\
             ok 5 - kernel: ADD-1 d # SKIP needs Root: not root\nok 6 - emulator: ADD-1 d # SKIP needs Root: not root\n\
             ok 7 - kernel: rename\nok 8 - emulator: rename\n";
        assert_eq!(tap(&rows()), expected);
    }
}
