//! One call of the table, and the line that it prints.

use std::path::Path;

use nix::errno::Errno;

use crate::argument::{Argument, Memory};
use crate::state::{Before, State};
use crate::symbol::Function;

/// What the result's register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Int,
    Long,
    /// Shown as null or not.
    Pointer,
    /// A new descriptor, to be looked at.
    Descriptor,
    /// A new descriptor of something else, to be looked at.
    File,
}

/// A call, or a few calls that only make sense together.
#[derive(Clone)]
enum Work {
    Call(Function, Vec<Argument>, Kind),
    Steps(fn(&mut State) -> String),
}

/// One row.
#[derive(Clone)]
pub(crate) struct Row {
    name: String,
    before: Before,
    work: Work,
}

/// What a libc says that has no such function.
pub(crate) const MISSING: &str = "missing";

impl Row {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes the call on an instance of its own: `result errno payload | the instance after it`.
    pub(crate) fn run(&self, folder: &Path) -> String {
        let mut state = State::new(folder, self.before);
        let said = match &self.work {
            Work::Call(function, arguments, kind) => {
                call(function, arguments, *kind, &mut state).unwrap_or_else(|| MISSING.into())
            }
            Work::Steps(steps) => steps(&mut state),
        };
        format!("{said} | {}", state.after())
    }
}

/// No errno: a call that succeeds leaves it alone.
const UNTOUCHED: i32 = 4711;

/// An errno by its name, or nothing if none was set.
pub(crate) fn shown_errno(errno: i32) -> String {
    if errno == UNTOUCHED { String::new() } else { format!("{:?}", Errno::from_raw(errno)) }
}

fn call(function: &Function, arguments: &[Argument], kind: Kind, state: &mut State) -> Option<String> {
    let mut memory = Memory::default();
    let mut registers = [0; 6];
    for (register, argument) in registers.iter_mut().zip(arguments) {
        *register = memory.resolve(argument, state);
    }
    if matches!(function, Function::Instruction(_)) {
        // Past the shim nothing waits for what has happened to arrive.
        state.settle();
    }
    Errno::set_raw(UNTOUCHED);
    let mut result = function.call(registers)?;
    if kind == Kind::Descriptor && result as i32 == -1 && Errno::last() == Errno::EMFILE {
        result = crate::instance::when_there_is_a_place(|| {
            Errno::set_raw(UNTOUCHED);
            function.call(registers).unwrap_or(-1) as i32
        })
        .into();
    }
    let errno = Errno::last_raw();
    let result = match kind {
        Kind::Int => (result as i32).to_string(),
        Kind::Long => result.to_string(),
        Kind::Pointer if result == -1 => "-1".into(),
        Kind::Pointer if result == 0 => "null".into(),
        Kind::Pointer => "an address".into(),
        Kind::Descriptor => described(result as i32),
        Kind::File => looked_at(result as i32),
    };
    let parts = [result, shown_errno(errno), memory.changes()];
    Some(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "))
}

/// A new descriptor: its number and flags, and what is in its queue if it is one of inotify.
fn described(fd: i32) -> String {
    if fd < 0 {
        return fd.to_string();
    }
    // SAFETY: takes numbers only.
    let of_file = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    // SAFETY: takes numbers only.
    let of_descriptor = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    let mut queued: libc::c_int = -1;
    // SAFETY: FIONREAD writes one int, which lives through the call.
    let result = unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut queued) };
    let own = if fd > 2 {
        // SAFETY: the call that is probed has made it.
        unsafe { libc::close(fd) };
        "new"
    } else {
        "old"
    };
    format!("{own} {of_descriptor} {of_file:o} {result} {queued}")
}

/// A new descriptor: where it leads and what its status is.
fn looked_at(fd: i32) -> String {
    if fd < 0 {
        return fd.to_string();
    }
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}"));
    // SAFETY: the structure is integers, of which all zeroes is a value.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the structure lives through the call.
    unsafe { libc::fstat(fd, &raw mut status) };
    // SAFETY: takes numbers only.
    let of_file = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    // SAFETY: takes numbers only.
    let of_descriptor = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    // SAFETY: the call that is probed has made it.
    unsafe { libc::close(fd) };
    // A link's target of its own process has its number in it.
    let link = format!("{link:?}").replace(&std::process::id().to_string(), "PID");
    format!("{link} {:o} {of_file:o} {of_descriptor}", status.st_mode)
}

/// Rows under construction.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// The same call by all these functions, separated by spaces; an `int` is its result.
    pub(crate) fn int(&mut self, functions: &'static str, arguments: impl AsRef<[Argument]>) -> &mut Self {
        self.add(Before::Queued, Kind::Int, functions, arguments.as_ref())
    }

    /// The same with a `long` or `ssize_t`.
    pub(crate) fn long(&mut self, functions: &'static str, arguments: impl AsRef<[Argument]>) -> &mut Self {
        self.add(Before::Queued, Kind::Long, functions, arguments.as_ref())
    }

    /// The same with a pointer.
    pub(crate) fn pointer(&mut self, functions: &'static str, arguments: impl AsRef<[Argument]>) -> &mut Self {
        self.add(Before::Queued, Kind::Pointer, functions, arguments.as_ref())
    }

    /// The same with a descriptor that the call makes.
    pub(crate) fn descriptor(&mut self, functions: &'static str, arguments: impl AsRef<[Argument]>) -> &mut Self {
        self.add(Before::Queued, Kind::Descriptor, functions, arguments.as_ref())
    }

    /// The same with a descriptor of something that is looked at, but not an instance.
    pub(crate) fn descriptor_as_link(
        &mut self,
        functions: &'static str,
        arguments: impl AsRef<[Argument]>,
    ) -> &mut Self {
        self.add(Before::Queued, Kind::File, functions, arguments.as_ref())
    }

    /// A `long`, with and without something queued.
    pub(crate) fn long_always_nonblocking(
        &mut self,
        functions: &'static str,
        arguments: impl AsRef<[Argument]>,
    ) -> &mut Self {
        for before in [Before::Queued, Before::Empty] {
            self.add(before, Kind::Long, functions, arguments.as_ref());
        }
        self
    }

    /// An `int`, with and without something queued.
    pub(crate) fn int_always(&mut self, functions: &'static str, arguments: impl AsRef<[Argument]>) -> &mut Self {
        for before in [Before::Queued, Before::Empty] {
            self.add(before, Kind::Int, functions, arguments.as_ref());
        }
        self
    }

    /// Several calls in one.
    pub(crate) fn steps(&mut self, name: &str, steps: fn(&mut State) -> String) -> &mut Self {
        self.rows.push(Row { name: name.into(), before: Before::Queued, work: Work::Steps(steps) });
        self
    }

    /// The same with nothing queued.
    pub(crate) fn steps_on_empty(&mut self, name: &str, steps: fn(&mut State) -> String) -> &mut Self {
        self.rows.push(Row { name: format!("{name} [Empty]"), before: Before::Empty, work: Work::Steps(steps) });
        self
    }

    fn add(&mut self, before: Before, kind: Kind, functions: &'static str, arguments: &[Argument]) -> &mut Self {
        let shown = arguments.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let state = if before == Before::Queued { String::new() } else { format!(" [{before:?}]") };
        for function in functions.split_whitespace() {
            let work = Work::Call(Function::parse(function), arguments.to_vec(), kind);
            self.rows.push(Row { name: format!("{function}({shown}){state}"), before, work });
        }
        self
    }

    pub(crate) fn rows(self) -> Vec<Row> {
        self.rows
    }
}
