//! inotify instances in files.
//!
//! [`checkpoint`] is our own format, JSON, which holds everything; [`criu`] reads and writes what CRIU keeps of an instance in its
//! images; [`loss`] says what is lost on the way from the one to the other, and [`difference`] what a restore has not brought back.
//!
//! Names such as WD-3 in this documentation are rules of `docs/semantics.md`. `docs/checkpoint-schema.json` is the schema of
//! our format.

#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod criu;
pub mod difference;
pub mod loss;
mod snapshot;
pub mod text;

pub use checkpoint::{Checkpoint, CheckpointError, Instance};
pub use difference::{Difference, differences};
pub use loss::{Loss, losses};
pub use snapshot::Surroundings;
