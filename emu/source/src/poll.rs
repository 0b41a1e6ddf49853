//! Source `poll`: what two looks at a tree tell, for file systems that notify nobody.
//!
//! Each file system has a thread of its own, which looks at what is watched there at every interval and hands over what has changed as the
//! hooks that Linux would have called. What leaves nothing behind (opening, reading, closing, a file that came and went) is never told.
//! Files are never opened, and nothing is held: neither a file that was deleted nor a file system that is to be unmounted.

mod catalogue;
mod changes;
mod difference;
mod file_system;
mod listing;
mod look;
mod look_up;
mod moment;
mod poller;
mod report;
mod snapshot;
mod source;

pub use difference::Difference;
pub use file_system::FileSystems;
pub use report::{Check, Known, Report, Ticket, Watch};
pub use source::{Options, Source, is_polled};
