//! The system calls of programs that no shim reaches: static ones, Go's, calls by number.
//!
//! A seccomp filter in the program ([`Filter`]) stops a thread in the calls that are about inotify and hands them to whoever holds the
//! [`Listener`]. What such a thread has is looked at while it waits ([`Target`]), and the path of a watch is resolved as it would resolve it
//! ([`resolve()`]). What the calls mean is not known here.
#![deny(unsafe_op_in_unsafe_fn)]

mod architecture;
mod call;
mod filter;
mod install;
mod listener;
mod resolve;
mod target;
mod walk;

pub use call::Call;
pub use filter::Filter;
pub use install::{InstallError, Installed, install, is_possible_unprivileged};
pub use listener::{Answered, Listener, Notification};
pub use resolve::{At, Cached, Lookup, Opened, resolve, resolve_cached};
pub use target::{Descriptor, Ids, Target};
