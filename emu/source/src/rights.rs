//! File system ids and groups, for this thread alone.

use nix::errno::Errno;

/// Sets the supplementary groups of this thread: libc's function changes all of them.
///
/// # Errors
///
/// EPERM without CAP_SETGID.
pub fn set_groups(groups: &[libc::gid_t]) -> Result<(), Errno> {
    // SAFETY: the array lives through the call, with its length beside it.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    Errno::result(result).map(drop)
}

/// Sets the ids by which file systems know this thread. These calls tell no error but by what the next one finds.
///
/// # Errors
///
/// EPERM if they are not what was asked for.
pub fn set_file_ids(uid: libc::uid_t, gid: libc::gid_t) -> Result<(), Errno> {
    const ASK: u32 = u32::MAX;
    // SAFETY: takes a number.
    unsafe { libc::setfsgid(gid) };
    // SAFETY: takes a number, which is no group's.
    let gid_now = unsafe { libc::setfsgid(ASK) };
    // SAFETY: takes a number.
    unsafe { libc::setfsuid(uid) };
    // SAFETY: takes a number, which is no user's.
    let uid_now = unsafe { libc::setfsuid(ASK) };
    if uid_now.cast_unsigned() == uid && gid_now.cast_unsigned() == gid { Ok(()) } else { Err(Errno::EPERM) }
}
