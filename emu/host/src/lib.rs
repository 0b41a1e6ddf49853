//! The emulator: sessions, delivery, settling, limits.
//!
//! It joins the core, which knows what inotify means, with a source, which knows what happens, and with the sockets over which
//! programs ask and read. One thread does all of it; what might block it is handed to others.

mod announcement;
mod calibration;
pub mod checkpoint;
pub mod client;
mod closer;
mod config;
mod connection;
pub mod control;
mod emulator;
pub mod fault;
mod fdinfo;
mod frame;
mod interception;
mod limits;
mod lull;
mod memory_file;
mod paths;
mod place;
mod programs;
mod refusal;
mod replay;
mod reply;
mod sender;
mod session;
mod settle_page;
pub mod status;
mod text_file;
mod told;
pub mod trace;
mod trees;
pub mod trial;
mod vigil;
mod window;

pub use announcement::{announce, announcements};
pub use checkpoint::query_checkpoint;
pub use client::Client;
pub use config::{Admission, Config, Lifetime, LimitOverrides, Order, SetNextWd, Sources};
pub use emulator::{Emulator, filters, hand_over};
pub use fdinfo::{EmulatorAddress, query_fdinfo};
pub use limits::{MachineLimits, UNLIMITED};
pub use replay::Recording;
pub use status::query_status;
pub use uinotify_core::{Limits, Mask, Profile};
pub use uinotify_source::fuse::{Device, Mode, Mount, MountOptions};
pub use uinotify_source::kernel_handle::KernelHandle;
pub use uinotify_source::mountinfo;
