//! What Linux 3.10 and RHEL 7.9's 3.10.0-1160 answer where a newer kernel knows more.
//!
//! Each row was seen on these kernels, in virtual machines, unless its last word is `known`: then it is from their sources. The rules are
//! for x86-64, whose last system call was number 313 (`finit_module`) in 3.10.

use super::OldKernel::{self, Rhel7, Vanilla};

/// What a call is asked for: a condition on one argument, by its place. All of a rule's have to hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// It is this number.
    Is(u32, u32),
    /// It is this number or a greater one.
    AtLeast(u32, u32),
    /// It is this number or a smaller one.
    AtMost(u32, u32),
    /// It has one of these bits.
    Has(u32, u32),
}

/// What comes of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// This errno.
    Errno(i32),
    /// The old kernel takes no notice, which a filter cannot imitate: nobody may ask for it, or is killed by SIGSYS.
    Never,
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) kernels: &'static [OldKernel],
    pub(super) call: libc::c_long,
    pub(super) when: &'static [When],
    pub(super) answer: Answer,
}

const fn row(kernels: &'static [OldKernel], call: libc::c_long, when: &'static [When], answer: Answer) -> Rule {
    Rule { kernels, call, when, answer }
}

/// The last system call of Linux 3.10.
pub(super) const LAST: u32 = 313;

/// Later ones that RHEL 7.9 has all the same: sched_setattr to memfd_create, bpf, userfaultfd, membarrier, mlock2, pkey_mprotect and
/// its like. It lacks execveat (322), and its copy_file_range (326) says ENOSYS on local file systems.
pub(super) const LATER_ON_RHEL: [std::ops::RangeInclusive<u32>; 4] = [314..=319, 321..=321, 323..=325, 329..=331];

const BOTH: &[OldKernel] = &[Vanilla, Rhel7];
const OF_VANILLA: &[OldKernel] = &[Vanilla];
const OF_RHEL: &[OldKernel] = &[Rhel7];

use Answer::{Errno, Never};
use When::{AtLeast, AtMost, Has, Is};
use libc as c;

/// Which arguments of older calls came later.
#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    // INOTIFY_IOC_SETNEXTWD, FUSE_DEV_IOC_CLONE, FUSE_DEV_IOC_BACKING_OPEN and FUSE_DEV_IOC_BACKING_CLOSE (the last two known).
    row(BOTH,       c::SYS_ioctl,             &[Is(1, 0x4004_4900)],                    Errno(c::ENOTTY)),
    row(BOTH,       c::SYS_ioctl,             &[Is(1, 0x8004_e500)],                    Errno(c::ENOTTY)),
    row(BOTH,       c::SYS_ioctl,             &[Is(1, 0x4010_e501)],                    Errno(c::ENOTTY)),
    row(BOTH,       c::SYS_ioctl,             &[Is(1, 0x4004_e502)],                    Errno(c::ENOTTY)),
    // IN_MASK_CREATE and unknown bits.
    row(OF_RHEL,    c::SYS_inotify_add_watch, &[Has(2, !0xe700_efff)],                  Errno(c::EINVAL)),
    row(OF_VANILLA, c::SYS_inotify_add_watch, &[Has(2, !0xe700_efff)],                  Never),
    // All that is named FAN_REPORT_, and FAN_ENABLE_AUDIT, which RHEL has.
    row(OF_VANILLA, c::SYS_fanotify_init,     &[Has(0, !0x3f)],                         Errno(c::EINVAL)),
    row(OF_RHEL,    c::SYS_fanotify_init,     &[Has(0, !0x7f)],                         Errno(c::EINVAL)),
    // FAN_MARK_FILESYSTEM and later, and events but FAN_ACCESS, MODIFY, CLOSE, OPEN, Q_OVERFLOW, the permissions, ON_DIR, EVENT_ON_CHILD.
    row(BOTH,       c::SYS_fanotify_mark,     &[Has(1, !0xff)],                         Errno(c::EINVAL)),
    row(BOTH,       c::SYS_fanotify_mark,     &[Has(2, !0x4803_003b)],                  Errno(c::EINVAL)),
    // AT_HANDLE_FID and later.
    row(BOTH,       c::SYS_name_to_handle_at, &[Has(4, !0x1400)],                       Errno(c::EINVAL)),
    // O_TMPFILE: 3.10 tries to open the directory for writing.
    #[cfg(target_arch = "x86_64")]
    row(OF_VANILLA, c::SYS_open,              &[Has(1, 0o20_000_000)],                  Errno(c::EISDIR)),
    row(OF_VANILLA, c::SYS_openat,            &[Has(2, 0o20_000_000)],                  Errno(c::EISDIR)),
    // Locks of open files, seals, and what came behind them.
    row(OF_VANILLA, c::SYS_fcntl,             &[AtLeast(1, 36), AtMost(1, 38)],         Errno(c::EINVAL)),
    row(OF_VANILLA, c::SYS_fcntl,             &[AtLeast(1, 1033), AtMost(1, 1040)],     Errno(c::EINVAL)),
    row(OF_RHEL,    c::SYS_fcntl,             &[AtLeast(1, 1035), AtMost(1, 1040)],     Errno(c::EINVAL)),
    row(BOTH,       c::SYS_fcntl,             &[AtLeast(1, 1027), AtMost(1, 1028)],     Errno(c::EINVAL)),
    // PR_SET_THP_DISABLE and later, but PR_SET_PTRACER; RHEL has it, PR_GET_THP_DISABLE and PR_CAP_AMBIENT.
    row(OF_VANILLA, c::SYS_prctl,             &[AtLeast(0, 41), AtMost(0, 0x5961_6d60)], Errno(c::EINVAL)),
    row(OF_RHEL,    c::SYS_prctl,             &[AtLeast(0, 43), AtMost(0, 46)],         Errno(c::EINVAL)),
    row(OF_RHEL,    c::SYS_prctl,             &[AtLeast(0, 48), AtMost(0, 0x5961_6d60)], Errno(c::EINVAL)),
    // PTRACE_SECCOMP_GET_FILTER and later, PTRACE_GET_SYSCALL_INFO among them.
    row(BOTH,       c::SYS_ptrace,            &[AtLeast(0, 0x420c), AtMost(0, 0x42ff)], Errno(c::EIO)),
    // MADV_FREE, and MADV_WIPEONFORK and later.
    row(OF_VANILLA, c::SYS_madvise,           &[Is(2, 8)],                              Errno(c::EINVAL)),
    row(BOTH,       c::SYS_madvise,           &[AtLeast(2, 18), AtMost(2, 25)],         Errno(c::EINVAL)),
    // MAP_FIXED_NOREPLACE, and MAP_SHARED_VALIDATE alone (known).
    row(BOTH,       c::SYS_mmap,              &[Has(3, 0x10_0000)],                     Never),
    // CLONE_NEWCGROUP, CLONE_NEWTIME; CLONE_PIDFD.
    row(BOTH,       c::SYS_clone,             &[Has(0, 0x0200_0000)],                   Errno(c::EINVAL)),
    row(BOTH,       c::SYS_clone,             &[Has(0, 0x1000)],                        Never),
    row(BOTH,       c::SYS_unshare,           &[Has(0, 0x0200_0080)],                   Errno(c::EINVAL)),
    // SO_BUSY_POLL and later: SO_COOKIE, SO_PEERGROUPS, SO_PEERPIDFD.
    row(BOTH,       c::SYS_getsockopt,        &[Is(1, 1), AtLeast(2, 46)],              Errno(c::ENOPROTOOPT)),
    row(BOTH,       c::SYS_setsockopt,        &[Is(1, 1), AtLeast(2, 46)],              Errno(c::ENOPROTOOPT)),
    // P_PIDFD.
    row(BOTH,       c::SYS_waitid,            &[Is(0, 3)],                              Errno(c::EINVAL)),
    // AT_EMPTY_PATH.
    row(BOTH,       c::SYS_utimensat,         &[Has(3, 0x1000)],                        Errno(c::EINVAL)),
    // FALLOC_FL_COLLAPSE_RANGE and later (known).
    row(OF_VANILLA, c::SYS_fallocate,         &[Has(1, !3)],                            Errno(c::EOPNOTSUPP)),
    // SECCOMP_FILTER_FLAG_TSYNC is the only flag, and SECCOMP_GET_ACTION_AVAIL knows nothing of notifications.
    row(OF_RHEL,    c::SYS_seccomp,           &[Is(0, 1), Has(1, !1)],                  Errno(c::EINVAL)),
    row(OF_RHEL,    c::SYS_seccomp,           &[AtLeast(0, 2)],                         Errno(c::EOPNOTSUPP)),
    // GRND_INSECURE; MFD_NOEXEC_SEAL and later.
    row(OF_RHEL,    c::SYS_getrandom,         &[Has(2, !3)],                            Errno(c::EINVAL)),
    row(OF_RHEL,    c::SYS_memfd_create,      &[Has(1, !3)],                            Errno(c::EINVAL)),
];
