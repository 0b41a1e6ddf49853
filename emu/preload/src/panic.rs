//! What the language asks for where there is no standard library.

use crate::raw;

/// Nothing here panics; should it, the program must not go on with half a call done.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    raw::abort()
}
