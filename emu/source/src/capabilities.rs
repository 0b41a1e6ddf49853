//! Sets of capabilities (capabilities(7)), of any thread to read and of this thread to set.

use nix::errno::Errno;

/// A set, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(
    /// Bit N is capability N.
    pub u64,
);

const CHOWN: u32 = 0;
const DAC_OVERRIDE: u32 = 1;
const DAC_READ_SEARCH: u32 = 2;
const FOWNER: u32 = 3;
const FSETID: u32 = 4;
const SETGID: u32 = 6;
const SETUID: u32 = 7;
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;

impl Capabilities {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// With these, groups decide nothing.
    pub const OF_FILES: Self = Self(1 << CHOWN | 1 << DAC_OVERRIDE | 1 << DAC_READ_SEARCH | 1 << FOWNER | 1 << FSETID);
    /// What it takes to act with another's ids.
    pub const OF_IDS: Self = Self(1 << SETGID | 1 << SETUID);

    /// What it takes to have the kernel read and write lower files itself.
    pub const OF_BACKINGS: Self = Self(1 << SYS_ADMIN);
    /// Who has it keeps set-user-ID bits of what it writes.
    pub const OF_SET_IDS: Self = Self(1 << FSETID);

    /// What it takes to look for files and read them whatever their modes say.
    pub const OF_READING: Self = Self(1 << DAC_OVERRIDE | 1 << DAC_READ_SEARCH);
    /// What it takes to look into other processes.
    pub const OF_TRACING: Self = Self(1 << SYS_PTRACE);

    /// Whether all of `others` are in it.
    #[must_use]
    pub fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// What is not in `others`.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// What is in either.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`
const VERSION: u32 = 0x2008_0522;

/// The effective, permitted and inheritable set of a thread; 0 is this one.
fn get(thread: i32) -> Result<[Half; 2], Errno> {
    let mut header = Header { version: VERSION, pid: thread };
    let mut halves = [Half::default(); 2];
    // SAFETY: a header and room for two halves, as this version has; they live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) };
    Errno::result(result)?;
    Ok(halves)
}

fn joined(halves: [Half; 2], field: impl Fn(&Half) -> u32) -> Capabilities {
    Capabilities(u64::from(field(&halves[0])) | u64::from(field(&halves[1])) << 32)
}

/// What a thread may do now, in its own user name space; 0 is this one.
///
/// # Errors
///
/// ESRCH if there is no such thread.
pub fn effective(thread: i32) -> Result<Capabilities, Errno> {
    Ok(joined(get(thread)?, |half| half.effective))
}

/// The sets of this thread, of which only the effective one changes.
#[derive(Clone, Copy, Debug)]
pub struct Own([Half; 2]);

impl Own {
    /// # Errors
    ///
    /// As `capget(2)`.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self(get(0)?))
    }

    /// What this thread may ever do.
    #[must_use]
    pub fn permitted(&self) -> Capabilities {
        joined(self.0, |half| half.permitted)
    }

    /// This thread, and no other, may from now on do just this.
    ///
    /// # Errors
    ///
    /// EPERM for what is not permitted.
    pub fn set_effective(&self, capabilities: Capabilities) -> Result<(), Errno> {
        let mut halves = self.0;
        let [low, high] = &mut halves;
        low.effective = u32::try_from(capabilities.0 & u64::from(u32::MAX)).unwrap_or(0);
        high.effective = u32::try_from(capabilities.0 >> 32).unwrap_or(0);
        let mut header = Header { version: VERSION, pid: 0 };
        // SAFETY: a header and two halves, as this version has; they live through the call.
        let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) };
        Errno::result(result).map(drop)
    }
}
