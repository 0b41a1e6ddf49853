//! The command line: what it takes, and which exit status it gives.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use uinotify_host::trace::{TraceFile, TraceForm};
use uinotify_host::{LimitOverrides, Mode, Order, Profile, SetNextWd, Sources};

use crate::interpose::{self, Interpose};
use crate::notice::notice;
use crate::replay::Moved;
use crate::run::EXIT_OWN_ERROR;
use crate::settings::Settings;
use crate::tree::Tree;
use crate::{
    activation, barrier, checkpoint, conform, criu, cursor, doctor, dump, emulate, env, faults, fdinfo, images, inject,
    log, manual, mount, number, process, ps, record, replay, restore, run, serve, shim_file, top, trace, wait,
};

/// Exit status of a command other than `run` that has failed.
const EXIT_FAILURE: u8 = 1;
/// Exit status of a wrong command line, but for `run`: see [`EXIT_OWN_ERROR`].
const EXIT_USAGE: u8 = 2;

#[derive(Parser)]
#[command(
    name = "uinotify",
    version,
    about = "inotify in user space: watch descriptors, limits and events that you control"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program whose inotify instances are emulated
    ///
    /// The exit status is the program's; 128+N if it died of signal N; 127 if it was not found, 126 if it could not be
    /// executed, 125 if uinotify itself failed.
    Run(RunArguments),
    /// Run a program, and show each call that it makes to inotify and each event, as they happen
    ///
    /// Behind the last line stands a summary. The exit status is that of `run`.
    Trace(TraceArguments),
    /// Run a program, and write its calls to inotify and all events to a file, for `replay` (docs/trace.md)
    ///
    /// The exit status is that of `run`.
    Record(RecordArguments),
    /// Run a program that is told what a recording has, whatever happens to files
    ///
    /// Its calls are compared with the recorded ones, have the same answers, and bring the same events. Where it departs from the recording is
    /// said on standard error. The exit status is that of `run`, and 3 if it has departed.
    Replay(ReplayArguments),
    /// Serve the inotify instances of many programs, until SIGTERM or Ctrl-C
    Serve(ServeArguments),
    /// Print what puts the programs of a shell under a server: eval "$(uinotify env --socket PATH)"
    Env(EnvArguments),
    /// Print the path of the library, for LD_PRELOAD: it gives each program an emulator of its own
    Library,
    /// What the library starts for a program without an emulator
    #[command(hide = true)]
    Emulate(EmulateArguments),
    /// Show a tree at another place, or over itself, to every process: what is done there is seen exactly
    ///
    /// Prints the path of the socket for the programs that watch it: eval "$(uinotify env --socket PATH)"
    Mount(MountArguments),
    /// Unmount what `uinotify mount` has mounted
    Umount(UmountArguments),
    /// Show the emulated inotify instances of this user, with their watches
    Ps(PsArguments),
    /// Wait until everything that has happened so far is in the queues: for tests, instead of sleeping
    ///
    /// Without --socket it is asked of the emulator that UINOTIFY_SOCKET names, or of all emulators of this user.
    Barrier(BarrierArguments),
    /// Show the same as it changes: instances, what happens in them a second, and their queues
    Top(TopArguments),
    /// Have something happen to a path, as far as programs under an emulator are told
    Inject(inject::Arguments),
    /// Wait until somebody watches a path: for tests, instead of sleeping
    Wait(wait::Arguments),
    /// Set the number of the next watch descriptor of an instance that is open
    Setnextwd(cursor::SetArguments),
    /// Print the number of the next watch descriptor of an instance that is open
    Getnextwd(cursor::GetArguments),
    /// Try the rules of docs/semantics.md on this machine's inotify and on the emulator's, and print which are shown
    ///
    /// The exit status is 1 if one is not.
    Conform(conform::Arguments),
    /// Have calls fail, and events lost or late, from now on in an emulator that is running (docs/testbed.md)
    Fault(faults::Arguments),
    /// Print the last calls and events of an emulator that keeps a log, and how many there were
    Log(log::Arguments),
    /// Print /proc/PID/fdinfo/FD of emulated inotify descriptors, as the process sees it
    Fdinfo(FdinfoArguments),
    /// Write all that there is of emulated inotify instances as a checkpoint (JSON), while their programs go on
    ///
    /// Watches with their numbers, masks and objects, the cursor, unread events, limits, descriptors: docs/checkpoint-schema.json.
    Dump(dump::Arguments),
    /// Rebuild the instances of a checkpoint, and run a program that finds them open under their old numbers
    #[command(long_about = RESTORE)]
    Restore(RestoreArguments),
    /// Run CRIU (dump or restore) for a program whose inotify is emulated: uinotify criu -- dump --tree PID --images-dir DIR
    ///
    /// A dump leaves DIR/uinotify.json beside the images, in which the program's instances are as of kernel inotify. A restore runs CRIU
    /// under an emulator, which gives watches their numbers in one call each, and brings back from that file what CRIU leaves out. The
    /// exit status is CRIU's, and 125 if uinotify failed.
    Criu(CriuArguments),
    /// What CRIU runs before a restored program goes on
    #[command(hide = true)]
    Fill(FillArguments),
    /// Show, check and change what CRIU's images have of inotify
    Images(images::Arguments),
    /// Try what works on this machine, and say what does not and why
    ///
    /// The exit status is 0 if `uinotify run` works as it comes, for programs that watch PATH, and 1 if not.
    Doctor(DoctorArguments),
    /// Print a manual page, as man(1) reads it: uinotify man run | man -l -
    Man(ManArguments),
    /// Print what completes command lines of uinotify in a shell
    Completions(CompletionsArguments),
    /// The program of the doctor's trials
    #[command(hide = true, name = doctor::observe::COMMAND)]
    Observe(ObserveArguments),
}

/// What an emulator is told.
#[derive(Args)]
struct EmulatorArguments {
    /// Where file-system events come from
    #[arg(long, value_enum, value_name = "SOURCE", default_value_t = Source::Auto)]
    source: Source,

    /// From one look at what is polled to the next, such as 200ms, 1s, 2m: what is on a file system that notifies nobody, or all with
    /// --source poll [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = number::interval)]
    poll_interval: Option<Duration>,

    /// How hard it is tried to keep the order of what fanotify tells
    #[arg(long, value_enum, value_name = "ORDER", default_value_t = OrderArgument::Eager)]
    order: OrderArgument,

    /// Number of the first watch descriptor of each instance, 1 to 0x7fffffff
    #[arg(long, value_name = "N", value_parser = number::watch_descriptor, allow_negative_numbers = true)]
    next_wd: Option<i32>,

    /// Limits in place of the kernel's: watches=N and instances=N of the user, queue=N events of an instance
    #[arg(long, value_name = "NAME=N", value_delimiter = ',', value_parser = limit)]
    limit: Vec<Limit>,

    /// What ioctl(INOTIFY_IOC_SETNEXTWD) does: work, or fail as on a kernel without it. Without this option it works, and
    /// fails with ENOTTY under --profile el7
    #[arg(long, value_enum, value_name = "ANSWER")]
    setnextwd: Option<SetNextWdAnswer>,

    /// Which Linux is shown, where kernels differ (docs/semantics.md, PROFILE): the one of today without this option, and for
    /// `restore` that of the checkpoint
    #[arg(long, value_enum, value_name = "PROFILE")]
    profile: Option<ProfileArgument>,

    #[command(flatten)]
    faults: faults::PlanArguments,

    /// Keep the last calls and events, and count all of them, for `uinotify log`
    #[arg(long)]
    log: bool,

    /// Write each call and each event as a line to FILE, - for standard error
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// The same as JSON lines (docs/trace.md)
    #[arg(long, value_name = "FILE")]
    trace_json: Option<PathBuf>,

    /// Say what is set up
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Args)]
struct RunArguments {
    #[command(flatten)]
    emulator: EmulatorArguments,

    /// How the program's calls come to uinotify: auto, preload, seccomp or both
    ///
    /// preload: by a library, which the dynamic linker loads. seccomp: by a filter of system calls, for static programs, Go's and all
    /// others. both: by both; auto: by the library, and by the filter where that changes nothing that the program may do (root, or
    /// no_new_privs is set already). seccomp,reads and both,reads also take reads into little room.
    #[arg(long, value_name = "WAY", value_parser = interpose::parse, default_value_t = Interpose::default())]
    interpose: Interpose,

    /// Fail if the program is out of uinotify's reach, instead of saying so
    #[arg(long)]
    strict: bool,

    /// Show DIR to the program through a file system of uinotify's, whose events are exact and need no kernel inotify; with
    /// :ro nothing in it can be changed. May be given several times
    #[arg(long, value_name = "DIR[:ro]")]
    tree: Vec<OsString>,

    /// How much of what is done to the trees is seen: all, or what somebody watches (docs/sandbox.md says what that can lose)
    #[arg(long, value_enum, value_name = "MODE", default_value_t = ModeArgument::Exact)]
    mode: ModeArgument,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(Args)]
struct TraceArguments {
    /// Write the lines to FILE, and not to standard error
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// JSON lines (docs/trace.md)
    #[arg(long)]
    json: bool,

    /// Draw the run: calls and events over time, watch by watch, and the queues with their limits. One page of HTML
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,

    #[command(flatten)]
    run: RunArguments,
}

impl From<TraceArguments> for trace::Options {
    fn from(arguments: TraceArguments) -> Self {
        let TraceArguments { output, json, report, run } = arguments;
        Self { output, json, report, ..Self::new(run.into()) }
    }
}

#[derive(Args)]
struct RecordArguments {
    /// What is written: lines of JSON, which may be cut and commented (#) by hand
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    run: RunArguments,
}

#[derive(Args)]
struct ReplayArguments {
    /// What `record` has written, or --trace-json
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What the recording has as OLD, and all that is in it, is NEW now. May be given several times; the first that fits counts
    #[arg(long, value_name = "OLD=NEW", value_parser = Moved::parse)]
    map: Vec<Moved>,

    /// Let as much time pass before each event as was recorded
    #[arg(long)]
    real_time: bool,

    #[command(flatten)]
    run: RunArguments,
}

impl From<ReplayArguments> for replay::Options {
    fn from(arguments: ReplayArguments) -> Self {
        let ReplayArguments { file, map, real_time, run } = arguments;
        Self { run: run.into(), file, moved: map, is_in_real_time: real_time }
    }
}

#[derive(Args)]
struct CriuArguments {
    /// CRIU; else the one in PATH
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,

    /// End a restore that takes longer, and say how long it would take
    #[arg(long, value_name = "N", value_parser = number::count)]
    max_seconds: Option<u64>,

    #[command(flatten)]
    emulator: EmulatorArguments,

    /// CRIU's own arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
}

#[derive(Args)]
struct FillArguments {
    /// The checkpoint
    #[arg(value_name = "FILE")]
    checkpoint: PathBuf,
}

impl From<CriuArguments> for criu::Options {
    fn from(arguments: CriuArguments) -> Self {
        let CriuArguments { program, max_seconds, emulator, arguments } = arguments;
        Self { settings: emulator.into(), program, seconds_max: max_seconds, arguments }
    }
}

const RESTORE: &str = "\
Rebuild the instances of a checkpoint, and run a program that finds them open under their old numbers

Their watches are made by the calls that a program makes. Then come the unread events, the cursor, the limits. An object that is not \
where it was is told of; nothing is left of what fails half way. Without a program the instances end at once: to see whether they \
can be rebuilt, and how long it takes. The exit status is the program's, as for `run`; without one 0, 3 if --verify has found a \
difference, and 125 if uinotify failed.";

#[derive(Args)]
struct RestoreArguments {
    /// The checkpoint, - for standard input
    #[arg(value_name = "FILE")]
    checkpoint: PathBuf,

    /// Only the instance with this number in the checkpoint
    #[arg(long, value_name = "ID")]
    group: Option<u64>,

    /// Walk as a checkpointer does: in ascending order with the ioctl, or by adding and removing until the number comes round
    #[arg(long, value_enum, value_name = "WAY")]
    via: Option<ViaArgument>,

    /// End the loop after so many steps, and say how long all of it would take
    #[arg(long, value_name = "N", value_parser = number::count)]
    max_steps: Option<u64>,

    /// Compare what was rebuilt with the checkpoint; no program is run if there is a difference
    #[arg(long)]
    verify: bool,

    /// What to do about an object that is not where it was
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = MissingArgument::Fail)]
    missing: MissingArgument,

    /// Rebuild in the server at this path
    #[arg(
        long,
        value_name = "PATH",
        conflicts_with_all = ["source", "order", "poll_interval", "next_wd", "limit", "setnextwd", "profile", "trace", "trace_json"]
    )]
    socket: Option<PathBuf>,

    /// How the program's calls come to uinotify, as for `run`
    #[arg(long, value_name = "WAY", value_parser = interpose::parse, default_value_t = Interpose::default(), conflicts_with = "socket")]
    interpose: Interpose,

    #[command(flatten)]
    emulator: EmulatorArguments,

    /// The program and its arguments
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ViaArgument {
    /// INOTIFY_IOC_SETNEXTWD before each watch
    Ioctl,
    /// Adding and removing a watch
    Loop,
}

#[derive(Clone, Copy, ValueEnum)]
enum MissingArgument {
    /// Rebuild nothing
    Fail,
    /// Leave its watch out
    Skip,
    /// Watch what is at its path now
    Path,
    /// Watch the object itself, wherever it is now (root only)
    Handle,
}

impl From<RestoreArguments> for restore::Options {
    fn from(arguments: RestoreArguments) -> Self {
        let RestoreArguments {
            checkpoint,
            group,
            via,
            max_steps,
            verify,
            missing,
            socket,
            interpose,
            emulator,
            command,
        } = arguments;
        Self {
            checkpoint,
            group,
            rebuild: checkpoint::Options {
                via: match via {
                    None => checkpoint::Via::Exact,
                    Some(ViaArgument::Ioctl) => checkpoint::Via::Ioctl,
                    Some(ViaArgument::Loop) => checkpoint::Via::Loop,
                },
                missing: match missing {
                    MissingArgument::Fail => checkpoint::Missing::Fail,
                    MissingArgument::Skip => checkpoint::Missing::Skip,
                    MissingArgument::Path => checkpoint::Missing::Path,
                    MissingArgument::Handle => checkpoint::Missing::Handle,
                },
                steps_max: max_steps.unwrap_or(u64::MAX),
            },
            verify,
            socket,
            interpose,
            settings: emulator.into(),
            command,
        }
    }
}

#[derive(Args)]
struct ServeArguments {
    /// Where programs find the server, a path of at most 107 bytes; not needed where systemd hands a socket over
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Serve every user's programs (root only), not only your own
    #[arg(long)]
    all_users: bool,

    /// Write a newline to this open descriptor once programs can connect, and close it
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    ready_fd: Option<RawFd>,

    #[command(flatten)]
    emulator: EmulatorArguments,
}

#[derive(Args)]
struct MountArguments {
    /// The tree; with :ro nothing in it can be changed
    #[arg(value_name = "DIR[:ro]")]
    tree: OsString,

    /// Where it is to be seen
    #[arg(value_name = "MOUNTPOINT")]
    point: PathBuf,

    /// Where programs find the emulator, a path of at most 107 bytes; else one is chosen
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Serve every user's programs (root only), not only your own
    #[arg(long)]
    all_users: bool,

    /// Stay in the foreground until it is unmounted, or SIGTERM or Ctrl-C unmount it
    #[arg(long)]
    foreground: bool,

    /// How much of what is done to the tree is seen: all, or what somebody watches (docs/sandbox.md says what that can lose)
    #[arg(long, value_enum, value_name = "MODE", default_value_t = ModeArgument::Exact)]
    mode: ModeArgument,

    #[command(flatten)]
    emulator: EmulatorArguments,
}

#[derive(Args)]
struct UmountArguments {
    /// Where it was mounted
    #[arg(value_name = "MOUNTPOINT")]
    point: PathBuf,

    /// Unmount it though it is in use: who uses it goes on, nobody else finds it
    #[arg(long)]
    lazy: bool,
}

#[derive(Args)]
struct EnvArguments {
    /// Where the server is
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
}

#[derive(Args)]
struct EmulateArguments {
    /// Takes the address, and ends with the program
    #[arg(long, value_name = "N")]
    ready_fd: RawFd,
}

#[derive(Args)]
struct TopArguments {
    /// Ask only the server at this path
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// From one look to the next, such as 200ms or 2s
    #[arg(long, value_name = "DURATION", value_parser = number::interval, default_value = "1s")]
    interval: Duration,
}

#[derive(Args)]
struct PsArguments {
    /// Ask only the server at this path
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Print JSON: a list of emulators, each with the version of the schema
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct BarrierArguments {
    /// Ask only the emulator at this path
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Args)]
struct DoctorArguments {
    /// What is to be watched; else the working folder
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,

    /// Print JSON, with the version of its schema
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ManArguments {
    /// The page of a subcommand; else that of uinotify itself
    #[arg(value_name = "SUBCOMMAND", conflicts_with = "dir")]
    subcommand: Vec<String>,

    /// Write all pages into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Args)]
struct CompletionsArguments {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: clap_complete::Shell,
}

#[derive(Args)]
struct ObserveArguments {
    /// An empty folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

#[derive(Args)]
struct FdinfoArguments {
    /// The process
    #[arg(value_name = "PID")]
    pid: u32,

    /// One descriptor; else each emulated one is shown, behind a line \"fd N\"
    #[arg(value_name = "FD")]
    fd: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Source {
    /// The most faithful source that works for each watched path
    Auto,
    /// The kernel's own inotify
    Inotify,
    /// The file system through which trees are shown, and nothing else
    Fuse,
    /// Marks of fanotify, without kernel inotify and its limits: all events, but their order is best effort
    Fanotify,
    /// No file system: everything can be watched, and nothing happens but what `uinotify inject` says
    Script,
    /// Looking again and again: for file systems that notify nobody; nothing of opening, reading and closing
    Poll,
}

#[derive(Clone, Copy, ValueEnum)]
enum OrderArgument {
    /// Events are read as soon as can be; the kernel merges what waits
    Eager,
    /// Whoever opens or reads what is watched waits for that, a tenth of a second at most (root only)
    Strict,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeArgument {
    /// Every call, each as Linux would tell of it
    Exact,
    /// The kernel reads and writes by itself what nobody watches for that
    Fast,
}

impl From<ModeArgument> for Mode {
    fn from(mode: ModeArgument) -> Self {
        match mode {
            ModeArgument::Exact => Self::Exact,
            ModeArgument::Fast => Self::Fast,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum SetNextWdAnswer {
    /// Set the cursor, as Linux does since 4.16 with CONFIG_CHECKPOINT_RESTORE
    Ok,
    /// Fail with ENOTTY, as Linux before 4.16 does
    Enotty,
    /// Fail with EINVAL
    Einval,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProfileArgument {
    /// The one of today
    Native,
    /// RHEL 7's 3.10: no INOTIFY_IOC_SETNEXTWD, no IN_MASK_CREATE, its fdinfo and its events
    El7,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Watches(u32),
    Instances(u32),
    Queue(u32),
}

fn limit(text: &str) -> Result<Limit, String> {
    let (name, number) = text.split_once('=').ok_or("a limit is NAME=N, such as watches=8")?;
    let kind = match name {
        "watches" => Limit::Watches,
        "instances" => Limit::Instances,
        "queue" => Limit::Queue,
        _ => return Err(format!("there is no limit {name:?}; there are watches, instances and queue")),
    };
    number::limit(number).map(kind)
}

/// The emulator has another working folder.
fn trace_path(path: PathBuf) -> PathBuf {
    if path == Path::new("-") { path } else { std::path::absolute(&path).unwrap_or(path) }
}

impl From<EmulatorArguments> for Settings {
    fn from(arguments: EmulatorArguments) -> Self {
        let mut limits = LimitOverrides::default();
        for limit in arguments.limit {
            match limit {
                Limit::Watches(count) => limits.watches_max = Some(count),
                Limit::Instances(count) => limits.instances_max = Some(count),
                Limit::Queue(count) => limits.queue_events_max = Some(count),
            }
        }
        Self {
            sources: match arguments.source {
                Source::Auto => Sources::Auto,
                Source::Inotify => Sources::Inotify,
                Source::Fuse => Sources::Fuse,
                Source::Fanotify => Sources::Fanotify,
                Source::Script => Sources::Script,
                Source::Poll => Sources::Poll,
            },
            poll_interval: arguments.poll_interval,
            order: match arguments.order {
                OrderArgument::Eager => Order::Eager,
                OrderArgument::Strict => Order::Strict,
            },
            next_wd: arguments.next_wd,
            limits,
            setnextwd: arguments.setnextwd.map(|answer| match answer {
                SetNextWdAnswer::Ok => SetNextWd::Ok,
                SetNextWdAnswer::Enotty => SetNextWd::NotTty,
                SetNextWdAnswer::Einval => SetNextWd::Inval,
            }),
            profile: arguments.profile.map(|profile| match profile {
                ProfileArgument::Native => Profile::Native,
                ProfileArgument::El7 => Profile::El7,
            }),
            faults: arguments.faults.into(),
            replay: None,
            log: arguments.log,
            traces: [(arguments.trace, TraceForm::Text), (arguments.trace_json, TraceForm::Json)]
                .into_iter()
                .filter_map(|(path, form)| Some(TraceFile { path: trace_path(path?), form }))
                .collect(),
            verbose: arguments.verbose,
            mode: Mode::default(),
        }
    }
}

impl From<RunArguments> for run::Options {
    fn from(arguments: RunArguments) -> Self {
        Self {
            settings: Settings { mode: arguments.mode.into(), ..arguments.emulator.into() },
            strict: arguments.strict,
            interpose: arguments.interpose,
            trees: arguments.tree.iter().map(|text| Tree::parse(text)).collect(),
            command: arguments.command,
        }
    }
}

fn serve(arguments: ServeArguments) -> Result<(), u8> {
    let ready = arguments.ready_fd.map(ready_descriptor).transpose()?;
    let ServeArguments { socket, all_users, emulator, .. } = arguments;
    if socket.is_none() && !activation::is_offered() {
        notice("--socket PATH is needed where no service manager hands a socket over");
        return Err(EXIT_USAGE);
    }
    serve::serve(serve::Options { settings: emulator.into(), socket, all_users, ready }).map_err(|error| {
        notice(error);
        EXIT_FAILURE
    })
}

impl From<MountArguments> for mount::Options {
    fn from(arguments: MountArguments) -> Self {
        let MountArguments { tree, point, socket, all_users, foreground, mode, emulator } = arguments;
        let settings = Settings { mode: mode.into(), ..emulator.into() };
        Self { settings, source: tree, point, socket, all_users, foreground }
    }
}

fn emulate(arguments: &EmulateArguments) -> Result<(), u8> {
    // The program has the message, and its standard error is not ours.
    emulate::emulate(&ready_descriptor(arguments.ready_fd)?).map_err(|_| EXIT_FAILURE)
}

fn ready_descriptor(number: RawFd) -> Result<OwnedFd, u8> {
    process::take_descriptor(number).map_err(|problem| {
        notice(format_args!("invalid value for --ready-fd: {problem}"));
        EXIT_USAGE
    })
}

/// Prints the path of the library.
fn library() -> anyhow::Result<()> {
    let mut line = shim_file::install_for_user()?.into_os_string().into_vec();
    line.push(b'\n');
    std::io::stdout().write_all(&line).context("cannot write to standard output")
}

/// The exit status of a command other than `run`; says why it has failed.
fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            notice(format!("{error:#}"));
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// The exit status of a command that runs another one.
fn status_or_own_error(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            notice(format!("{error:#}"));
            ExitCode::from(EXIT_OWN_ERROR)
        }
    }
}

/// Does what the command line of this process asks for.
pub fn main() -> ExitCode {
    match conform::executes_lists() {
        Ok(false) => {}
        executed => return exit_code(executed.map(drop)),
    }
    let for_run = std::env::args_os().nth(1).is_some_and(|name| name == "run");
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let text = error.render().to_string();
            notice(text.strip_prefix("error: ").unwrap_or(&text));
            return ExitCode::from(if for_run { EXIT_OWN_ERROR } else { EXIT_USAGE });
        }
        Err(help) => {
            // Help that nobody reads to its end is no failure.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    match cli.command {
        Command::Run(arguments) => match run::run(&arguments.into()) {
            Ok(status) => ExitCode::from(status),
            Err(error) => {
                notice(&error);
                ExitCode::from(error.exit_status())
            }
        },
        Command::Trace(arguments) => status_or_own_error(trace::run(arguments.into())),
        Command::Record(arguments) => status_or_own_error(record::run(arguments.run.into(), arguments.file)),
        Command::Replay(arguments) => status_or_own_error(replay::run(arguments.into())),
        Command::Serve(arguments) => serve(arguments).map_or_else(ExitCode::from, |()| ExitCode::SUCCESS),
        Command::Library => exit_code(library()),
        Command::Emulate(arguments) => emulate(&arguments).map_or_else(ExitCode::from, |()| ExitCode::SUCCESS),
        Command::Env(arguments) => exit_code(env::env(&arguments.socket)),
        Command::Mount(arguments) => exit_code(mount::mount(&arguments.into())),
        Command::Umount(arguments) => exit_code(mount::unmount(&arguments.point, arguments.lazy)),
        Command::Ps(arguments) => exit_code(ps::ps(arguments.json, arguments.socket.as_deref())),
        Command::Top(arguments) => exit_code(top::top(arguments.socket.as_deref(), arguments.interval)),
        Command::Barrier(arguments) => exit_code(barrier::barrier(arguments.socket.as_deref())),
        Command::Inject(arguments) => exit_code(inject::inject(&arguments)),
        Command::Wait(arguments) => exit_code(wait::wait(&arguments)),
        Command::Setnextwd(arguments) => exit_code(cursor::set(&arguments)),
        Command::Getnextwd(arguments) => exit_code(cursor::get(&arguments)),
        Command::Conform(arguments) => match conform::conform(&arguments) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(EXIT_FAILURE),
            Err(error) => exit_code(Err(error)),
        },
        Command::Fault(arguments) => exit_code(faults::fault(&arguments)),
        Command::Log(arguments) => exit_code(log::log(&arguments)),
        Command::Fdinfo(arguments) => exit_code(fdinfo::fdinfo(arguments.pid, arguments.fd)),
        Command::Dump(arguments) => exit_code(dump::run(arguments)),
        Command::Restore(arguments) => status_or_own_error(restore::run(&arguments.into())),
        Command::Criu(arguments) => status_or_own_error(criu::run(&arguments.into())),
        Command::Fill(arguments) => exit_code(criu::fill(&arguments.checkpoint)),
        Command::Doctor(arguments) => match doctor::doctor(arguments.path.as_deref(), arguments.json) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(EXIT_FAILURE),
            Err(error) => exit_code(Err(error)),
        },
        Command::Man(arguments) => exit_code(match &arguments.dir {
            Some(folder) => manual::write_all(&Cli::command(), folder),
            None => manual::print(&Cli::command(), &arguments.subcommand),
        }),
        Command::Completions(arguments) => exit_code(manual::complete(Cli::command(), arguments.shell)),
        Command::Observe(arguments) => exit_code(doctor::observe::observe(&arguments.folder)),
        Command::Images(arguments) => match images::images(arguments.command) {
            Ok(status) => ExitCode::from(status),
            Err(error) => exit_code(Err(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<run::Options, clap::Error> {
        let line = ["uinotify", "run"].iter().chain(arguments);
        match Cli::try_parse_from(line)?.command {
            Command::Run(arguments) => Ok(arguments.into()),
            _ => unreachable!("`run` was asked for"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_is_taken_verbatim() {
        let command = |arguments: &[&str]| options(arguments).unwrap().command;
        assert_eq!(
            command(&["--", "sh", "-c", "x", "--", "-v", "--strict"]),
            ["sh", "-c", "x", "--", "-v", "--strict"]
        );
        assert_eq!(command(&["-v", "sh", "--strict", "--", "y"]), ["sh", "--strict", "--", "y"]);
        assert!(options(&[]).is_err());
        assert!(options(&["--"]).is_err());
        assert!(!options(&["sh", "--strict"]).unwrap().strict);
    }

    #[test]
    fn limits_override_only_what_is_named() {
        let limits = |arguments: &[&str]| options(&[arguments, &["--", "true"]].concat()).unwrap().settings.limits;
        let given = limits(&["--limit", "watches=0x10,queue=0", "--limit=watches=3"]);
        assert_eq!((given.watches_max, given.instances_max, given.queue_events_max), (Some(3), None, Some(0)));
        for refused in ["watches", "watches=", "watches=-1", "files=1", "", "watches=1,,queue=2"] {
            assert!(options(&["--limit", refused, "--", "true"]).is_err(), "{refused:?} was taken");
        }
    }
}
