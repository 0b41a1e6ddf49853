//! uinotify, inotify in user space: what stands behind the command.
//!
//! The emulator itself is in `uinotify-host`; this crate starts it beside a program ([`run`]), puts the shim where the
//! program's dynamic linker finds it ([`shim_file`]), and shows what emulators are doing ([`ps`]).

pub mod cli;
pub mod notice;
pub mod number;
pub mod program;
pub mod ps;
pub mod run;
pub mod runtime_folder;
pub mod shim_file;
