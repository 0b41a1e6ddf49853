//! Descriptors that arrive by `SCM_RIGHTS`.

use crate::identity;
use crate::raw::MessageHeader;

const HEADER_BYTES: usize = 16;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;

/// Marks every descriptor in a received message that is ours.
///
/// # Safety
///
/// `message` must have been filled by a successful `recvmsg`.
pub unsafe fn mark_received(message: *const MessageHeader) {
    // SAFETY: by this function's contract.
    let message = unsafe { &*message };
    let (start, end) = (message.control.cast::<u8>(), message.control_length);
    if start.is_null() {
        return;
    }
    let mut offset = 0;
    while offset + HEADER_BYTES <= end {
        // SAFETY: the kernel wrote a header here.
        let length = unsafe { start.wrapping_add(offset).cast::<usize>().read_unaligned() };
        // SAFETY: the kernel wrote a header here.
        let [level, kind] = unsafe { start.wrapping_add(offset + 8).cast::<[i32; 2]>().read_unaligned() };
        if length < HEADER_BYTES || length > end - offset {
            return;
        }
        if level == SOL_SOCKET && kind == SCM_RIGHTS {
            for position in (HEADER_BYTES..length.saturating_sub(3)).step_by(4) {
                // SAFETY: within the length that the kernel wrote.
                let fd = unsafe { start.wrapping_add(offset + position).cast::<i32>().read_unaligned() };
                identity::mark_if_ours(fd);
            }
        }
        offset += length.next_multiple_of(8);
    }
}
