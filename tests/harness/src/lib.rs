//! The kernel beside the emulator: one vocabulary of operations, done by one executor, on two subjects.
//!
//! A [`operation::List`] of operations is run by the executor ([`execute::execute`]) on this machine's
//! inotify and under `uinotify run`. Each gives a [`trace::Trace`]: what every call returned and every
//! event that was read. [`compare::compare`] wants them equal.
//!
//! A third subject is a [`model`]: it makes up the hooks of a file system in memory, for the rules of the core alone.

pub mod case;
pub mod cases;
pub mod class;
pub mod compare;
pub mod execute;
#[cfg(feature = "generate")]
pub mod generate;
pub mod measure;
pub mod model;
pub mod needs;
pub mod old_kernel;
pub mod operation;
pub mod raw;
pub mod shorthand;
pub mod show;
pub mod subject;
pub mod trace;
