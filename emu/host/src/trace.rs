//! What programs ask and what becomes of events, told to whoever follows: a line for each.
//!
//! An [`Observer`] gets [`Record`]s. Those that write files are made from the [`Config`](crate::Config).

mod log;
mod record;
mod tracer;
mod writer;

pub use log::Counts;
pub use record::{Outcome, Record, TRACE_FORMAT, TRACE_VERSION, What};
pub use writer::{TraceFile, TraceForm};

pub(crate) use log::Log;
pub(crate) use record::{Quoted, errno_of, show_flags};
pub(crate) use tracer::Tracer;
pub(crate) use writer::Writer;

/// Follows an emulator.
pub trait Observer: Send {
    /// Something has happened.
    fn observe(&mut self, record: &Record);

    /// Nothing more has happened for now: what is kept back may be written.
    fn pause(&mut self) {}
}
