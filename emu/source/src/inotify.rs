//! Source `inotify`: one kernel instance behind each group.
//!
//! The kernel matches, merges and orders; its wds are the identity of the watched objects, and never reach a program. Exact but
//! for the rows of docs/differences.md.

mod device;
mod information;
mod instance;
mod records;

pub use device::device_of;
pub use information::{Information, Shown};
pub use instance::{Instance, KernelWd};
pub use records::{Record, Records};
