//! `libuinotify.so`: the library that is preloaded into programs.
//!
//! It runs inside other people's programs, so it allocates nothing, takes no lock (but for the start of an emulator: [`private`]), keeps
//! nothing thread-local, never panics and leaves `errno` alone on success. It knows an emulated descriptor by a bit, which is a hint,
//! and by the name of the socket's other end, which is the proof. A call on any other descriptor pays the test of the bit.
//!
//! This crate is an ordinary `no_std` library. The C functions that interpose libc's stand behind `--cfg shim`; the build script
//! of the package `uinotify` builds it once more, so configured, as a cdylib that links against nothing.
#![no_std]

pub mod address;
pub mod bitmap;
pub mod caller_memory;
pub mod caller_path;
pub mod constructor;
pub mod description;
pub mod descriptor;
pub mod descriptor_path;
pub mod epoll;
pub mod errno;
pub mod identity;
pub mod instance;
pub mod log;
pub mod memory;
pub mod message;
pub mod next;
pub mod place;
pub mod poll;
pub mod private;
pub mod proc_path;
pub mod raw;
pub mod read;
pub mod request;
pub mod select;
pub mod settings;
pub mod settle;
pub mod slot;
pub mod stand_in;

#[cfg(shim)]
mod exports;
#[cfg(shim)]
mod panic;
