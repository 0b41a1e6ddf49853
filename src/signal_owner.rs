//! Who gets the signals of a descriptor, as fcntl(2) takes and tells it: libc has these for few targets only.

pub(crate) const F_SETSIG: i32 = 10;
pub(crate) const F_GETSIG: i32 = 11;
pub(crate) const F_SETOWN_EX: i32 = 15;
pub(crate) const F_GETOWN_EX: i32 = 16;
pub(crate) const F_GETOWNER_UIDS: i32 = 17;
pub(crate) const F_OWNER_PGRP: i32 = 2;

/// `struct f_owner_ex`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Owner {
    /// F_OWNER_TID, F_OWNER_PID or F_OWNER_PGRP.
    pub(crate) kind: i32,
    pub(crate) pid: i32,
}
