//! Source `fuse`: a passthrough file system, whose requests are the hooks.
//!
//! A process tree sees a directory through it, so that each operation passes here. In exact mode nothing is cached by the kernel: data goes past
//! the page cache, names and attributes hold for no time, and each call is a request. Requests come over one descriptor, in order, to one thread, which
//! does them in the lower tree, tells the hooks and answers. CLOSE comes from RELEASE, which the kernel queues before close(2) returns
//! and does not wait for: whoever reads the device until it is empty has seen all.

mod caller;
mod descriptors;
mod device;
mod fast;
mod file_handle;
mod file_system;
mod identity;
mod lower;
mod mode;
mod mount;
mod names;
mod nodes;
mod numbered;
mod open_files;
mod reply;
mod request;
mod sink;
mod slow;
mod system_call;
mod ways;

pub use device::Device;
pub use file_system::{FileSystem, Served, may_read};
pub use mode::Mode;
pub use mount::{Mount, MountNumber, MountOptions};
pub use request::NodeId;
pub use sink::Sink;
