//! uinotify, inotify in user space: what stands behind the command.
//!
//! The emulator itself is in `uinotify-host`; this crate starts it beside a program ([`run`]) or for many ([`serve`]), puts the
//! shim where a program's dynamic linker finds it ([`shim_file`]), shows trees to it through a file system of ours
//! ([`tree`]), and shows what emulators are doing ([`ps`], [`fdinfo`]). What a checkpointer has
//! written of instances is shown and changed by [`images`].

mod activation;
pub mod barrier;
pub mod checkpoint;
pub mod cli;
pub mod conform;
pub mod criu;
pub mod cursor;
pub mod doctor;
pub mod dump;
pub mod emulate;
pub mod env;
mod environment;
pub mod faults;
pub mod fdinfo;
pub mod images;
mod inherited;
pub mod inject;
pub mod interpose;
pub mod log;
pub mod manual;
pub mod mount;
mod nested;
pub mod notice;
pub mod number;
mod process;
pub mod program;
pub mod ps;
mod reach;
pub mod record;
pub mod replay;
pub mod restore;
pub mod run;
pub mod runtime_folder;
pub mod serve;
pub mod settings;
pub mod shim_file;
mod signal_owner;
mod socket;
pub mod testbed;
pub mod top;
pub mod trace;
pub mod tree;
pub mod wait;
