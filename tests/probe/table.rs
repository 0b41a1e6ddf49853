//! The calls, by what they are for.

use nix::errno::Errno;

use crate::row::{Row, Table};

#[path = "table/changing.rs"]
mod changing;
#[path = "table/control.rs"]
mod control;
#[path = "table/descriptor.rs"]
mod descriptor;
#[path = "table/path.rs"]
mod path;
#[path = "table/reading.rs"]
mod reading;
#[path = "table/socket.rs"]
mod socket;
#[path = "table/status.rs"]
mod status;
#[path = "table/stream.rs"]
mod stream;
#[path = "table/waiting.rs"]
mod waiting;

/// All rows, in the order in which they are made.
pub(crate) fn rows() -> Vec<Row> {
    let mut table = Table::default();
    reading::add(&mut table);
    status::add(&mut table);
    changing::add(&mut table);
    control::add(&mut table);
    socket::add(&mut table);
    waiting::add(&mut table);
    descriptor::add(&mut table);
    path::add(&mut table);
    stream::add(&mut table);
    table.rows()
}

/// A result, and why it is one if it is an error.
pub(crate) fn said(result: i32) -> String {
    if result < 0 { format!("{result} {:?}", Errno::last()) } else { result.to_string() }
}
