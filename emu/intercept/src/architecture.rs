//! The numbers of the calls, by the interface through which a program calls.

/// What the kernel calls an interface in `seccomp_data.arch` (linux/audit.h).
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;

/// In numbers of x86-64 programs with 32-bit pointers (`__X32_SYSCALL_BIT`).
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// One interface of the kernel to programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Architecture {
    /// `seccomp_data.arch`.
    pub(crate) audit: u32,
    /// Whether its numbers may have [`X32_BIT`].
    pub(crate) has_x32: bool,
    /// Not on machines whose interface is younger than `inotify_init1`.
    pub(crate) inotify_init: Option<u32>,
    pub(crate) inotify_init1: u32,
    pub(crate) inotify_add_watch: u32,
    pub(crate) inotify_rm_watch: u32,
    /// The second is that of x32.
    pub(crate) ioctl: &'static [u32],
    pub(crate) read: u32,
}

/// Those of the machines that uinotify is made for, each with the one for older programs.
pub(crate) const ARCHITECTURES: [Architecture; 4] = [
    Architecture {
        audit: X86_64,
        has_x32: true,
        inotify_init: Some(253),
        inotify_init1: 294,
        inotify_add_watch: 254,
        inotify_rm_watch: 255,
        ioctl: &[16, 514],
        read: 0,
    },
    Architecture {
        audit: I386,
        has_x32: false,
        inotify_init: Some(291),
        inotify_init1: 332,
        inotify_add_watch: 292,
        inotify_rm_watch: 293,
        ioctl: &[54],
        read: 3,
    },
    Architecture {
        audit: AARCH64,
        has_x32: false,
        inotify_init: None,
        inotify_init1: 26,
        inotify_add_watch: 27,
        inotify_rm_watch: 28,
        ioctl: &[29],
        read: 63,
    },
    Architecture {
        audit: ARM,
        has_x32: false,
        inotify_init: Some(316),
        inotify_init1: 360,
        inotify_add_watch: 317,
        inotify_rm_watch: 318,
        ioctl: &[54],
        read: 3,
    },
];

impl Architecture {
    /// The interface that the kernel names so.
    pub(crate) fn of(audit: u32) -> Option<&'static Self> {
        ARCHITECTURES.iter().find(|architecture| architecture.audit == audit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// libc knows the numbers of the machine for which it is compiled.
    #[test]
    fn the_numbers_are_those_of_this_machine() {
        let audit = if cfg!(target_arch = "x86_64") { X86_64 } else { AARCH64 };
        let own = Architecture::of(audit).expect("this machine");
        let known = [libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch, libc::SYS_read];
        let ours = [own.inotify_init1, own.inotify_add_watch, own.inotify_rm_watch, own.read];
        assert_eq!(known.map(|number| u32::try_from(number).expect("a number")), ours);
        assert_eq!(libc::SYS_ioctl, i64::from(own.ioctl[0]));
        #[cfg(target_arch = "x86_64")]
        assert_eq!(Some(libc::SYS_inotify_init), own.inotify_init.map(i64::from));
    }
}
