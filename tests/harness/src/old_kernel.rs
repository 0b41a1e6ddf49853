//! This machine's kernel, answering as one of the Linux 3.10 family would: by a seccomp filter, which processes inherit and cannot leave.
//!
//! What a filter cannot imitate is beside it: the texts of procfs are tested by what they were on such kernels, and the protocol of FUSE is
//! cut to its old version by a library that stands between the emulator and the device (`tests/oldkernel/fuse_double.c`).

mod table;

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use libc::sock_filter;
use nix::errno::Errno;

use table::{Answer, LAST, LATER_ON_RHEL, RULES, When};

/// A kernel to be imitated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldKernel {
    /// Linux 3.10 as it was released.
    Vanilla,
    /// The kernel of Red Hat Enterprise Linux 7.9.
    Rhel7,
}

/// Names a kernel under which tests are to run: `vanilla` or `rhel7`.
pub const VARIABLE: &str = "UINOTIFY_TEST_KERNEL";
/// Names the library that cuts the protocol of FUSE, for tests that run on such a kernel.
pub const DOUBLE_VARIABLE: &str = "UINOTIFY_TEST_FUSE_DOUBLE";

impl OldKernel {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Vanilla, Self::Rhel7];

    /// The kernel that the environment names.
    ///
    /// # Panics
    ///
    /// If it names none that there is.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let name = std::env::var(VARIABLE).ok()?;
        let known = Self::ALL.into_iter().find(|kernel| kernel.name() == name);
        Some(known.unwrap_or_else(|| panic!("{VARIABLE} is vanilla or rhel7, not {name}")))
    }

    /// In names of tests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vanilla => "vanilla",
            Self::Rhel7 => "rhel7",
        }
    }

    /// Has a command meet its protocol of FUSE: by `double`, the library of `tests/oldkernel/fuse_double.c`, which is preloaded into it and writes what
    /// was asked to the file `journal`.
    pub fn limit_fuse<'a>(self, command: &'a mut Command, double: &Path, journal: &Path) -> &'a mut Command {
        let (minor, flags) = (self.fuse_minor(), self.fuse_flags());
        let settings = format!("{minor:x}:{flags:x}:{}", journal.display());
        command.env("LD_PRELOAD", double).env("UINOTIFY_TEST_FUSE", settings)
    }

    /// The minor version of the protocol of FUSE.
    #[must_use]
    pub fn fuse_minor(self) -> u32 {
        match self {
            Self::Vanilla => 22,
            Self::Rhel7 => 23,
        }
    }

    /// The flags that its INIT offers.
    fn fuse_flags(self) -> u32 {
        match self {
            Self::Vanilla => 0xfffb,
            Self::Rhel7 => 0x3_fffb,
        }
    }

    /// Why it cannot be imitated here.
    #[must_use]
    pub fn missing(self) -> Option<String> {
        if cfg!(not(target_arch = "x86_64")) {
            return Some("its system calls have the numbers of x86-64".to_owned());
        }
        let entered = std::thread::spawn(move || self.enter()).join();
        entered.expect("it does not panic").err().map(|error| format!("seccomp: {error}"))
    }

    /// Has a command, and all that it starts, run on it.
    pub fn confine(self, command: &mut Command) -> &mut Command {
        let filter = self.filter();
        let install = move || install(&filter);
        // SAFETY: between fork and exec it makes two system calls, and allocates nothing.
        unsafe { command.pre_exec(install) }
    }

    /// Has this thread, and all that it starts from now on, run on it.
    ///
    /// # Errors
    ///
    /// If the machine's kernel takes no filters.
    pub fn enter(self) -> io::Result<()> {
        install(&self.filter())
    }

    /// Has a command run on the kernel that the environment names, if it does, and meet its protocol of FUSE, if there is a library for that.
    pub fn confine_if_asked(command: &mut Command) {
        let Some(kernel) = Self::from_environment() else { return };
        kernel.confine(command);
        if let Some(double) = std::env::var_os(DOUBLE_VARIABLE) {
            kernel.limit_fuse(command, Path::new(&double), Path::new("/dev/null"));
        }
    }

    fn has(self, kernels: &[Self]) -> bool {
        kernels.contains(&self)
    }

    fn filter(self) -> Vec<sock_filter> {
        let mut filter = Filter::default();
        filter.load(ARCHITECTURE);
        // Calls of other architectures have numbers of their own.
        filter.unless(JUMP_EQUAL, AUDIT_ARCH_X86_64, &[give(errno(libc::ENOSYS))]);
        for rule in RULES.iter().filter(|rule| self.has(rule.kernels)) {
            filter.rule(u32::try_from(rule.call).expect("a number"), rule.when, rule.answer);
        }
        filter.load(NUMBER);
        if self == Self::Rhel7 {
            for number in LATER_ON_RHEL.into_iter().flatten() {
                filter.when(JUMP_EQUAL, number, &[give(libc::SECCOMP_RET_ALLOW)]);
            }
        }
        filter.when(JUMP_GREATER, LAST, &[give(errno(libc::ENOSYS))]);
        filter.code.push(give(libc::SECCOMP_RET_ALLOW));
        filter.code
    }
}

/// Runs the tests of this process on the kernel that the environment names, if it does. The process executes itself once more: a libc
/// does not expect its kernel to become another one.
///
/// # Panics
///
/// If that cannot be done: tests must not pass on another kernel unnoticed.
pub fn enter_if_asked() {
    let Some(kernel) = OldKernel::from_environment() else { return };
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).env_remove(VARIABLE);
    let error = kernel.confine(&mut command).exec();
    panic!("cannot run on another kernel: {error}");
}

/// `struct seccomp_data`: where the number, the architecture and the lower half of an argument are.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn argument(place: u32) -> u32 {
    16 + 8 * place
}

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const JUMP_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const JUMP_GREATER: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
const JUMP_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const JUMP_ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const GIVE: u32 = libc::BPF_RET | libc::BPF_K;

fn instruction(code: u32, k: u32, if_true: usize, if_false: usize) -> sock_filter {
    let distance = |steps| u8::try_from(steps).expect("rules are short");
    sock_filter { code: u16::try_from(code).expect("sixteen bits"), jt: distance(if_true), jf: distance(if_false), k }
}

fn give(answer: u32) -> sock_filter {
    instruction(GIVE, answer, 0, 0)
}

fn errno(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()
}

#[derive(Default)]
struct Filter {
    code: Vec<sock_filter>,
}

impl Filter {
    fn load(&mut self, offset: u32) {
        self.code.push(instruction(LOAD, offset, 0, 0));
    }

    fn when(&mut self, test: u32, k: u32, then: &[sock_filter]) {
        self.code.push(instruction(test, k, 0, then.len()));
        self.code.extend_from_slice(then);
    }

    fn unless(&mut self, test: u32, k: u32, then: &[sock_filter]) {
        self.code.push(instruction(test, k, then.len(), 0));
        self.code.extend_from_slice(then);
    }

    fn rule(&mut self, call: u32, when: &[When], answer: Answer) {
        let answer = match answer {
            Answer::Errno(number) => errno(number),
            Answer::Never => libc::SECCOMP_RET_KILL_PROCESS,
        };
        let mut body = Vec::new();
        for (index, condition) in when.iter().enumerate() {
            // What is left behind a condition: two instructions for each other one, and the answer.
            let behind = 2 * (when.len() - 1 - index) + 1;
            let (place, test, k, holds) = match *condition {
                When::Is(place, k) => (place, JUMP_EQUAL, k, true),
                When::AtLeast(place, k) => (place, JUMP_AT_LEAST, k, true),
                When::AtMost(place, k) => (place, JUMP_GREATER, k, false),
                When::Has(place, k) => (place, JUMP_ANY_BIT, k, true),
            };
            body.push(instruction(LOAD, argument(place), 0, 0));
            let (if_true, if_false) = if holds { (0, behind) } else { (behind, 0) };
            body.push(instruction(test, k, if_true, if_false));
        }
        body.push(give(answer));
        self.load(NUMBER);
        self.when(JUMP_EQUAL, call, &body);
    }
}

fn install(filter: &[sock_filter]) -> io::Result<()> {
    let length = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    // SAFETY: takes numbers only.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: the program and its instructions live through the call, which copies them.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, std::ptr::from_ref(&program)) };
    Errno::result(result)?;
    Ok(())
}
