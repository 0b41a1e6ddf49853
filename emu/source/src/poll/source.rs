//! The emulator's side: which file systems are polled, and what their threads report.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use uinotify_core::ObjectId;

use super::poller::{self, Line};
use super::report::Order;
use super::report::{Known, Report, Ticket, Watch};
use crate::status::Status;

/// The four highest bits of the numbers of polled objects.
pub(super) const TAG: u64 = 0xe << 60;
const TAG_MASK: u64 = 0xf << 60;

/// Reports that wait. Who has more to report waits too.
const REPORTS_MAX: usize = 64;

/// The outcome of an order to watch.
pub(super) type Watched = Result<(ObjectId, Known), Errno>;

/// How a source is to behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// From the beginning of one snapshot to that of the next.
    pub interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1) }
    }
}

/// One file system.
#[derive(Debug)]
struct Volume {
    device: u64,
    /// Without a bound, as whoever gives orders may not wait: programs that wait for an answer, and watches that have ended.
    orders: Sender<Order>,
    /// Objects that are watched.
    watched: usize,
    /// Orders to watch that were not reported on.
    pending: usize,
    /// The last one that was.
    last: Ticket,
}

/// A source. One thread owns it: it waits until the descriptor is readable, and takes reports.
#[derive(Debug)]
pub struct Source {
    options: Options,
    volumes: Vec<Volume>,
    line: Line,
    reports: Receiver<Report>,
    /// Of each order to watch, and of each object: the device.
    ordered: BTreeMap<Ticket, u64>,
    watched: BTreeMap<ObjectId, Known>,
    /// How many file systems have not passed yet.
    barriers: BTreeMap<Ticket, usize>,
    tickets: u64,
}

impl Source {
    /// A source that watches nothing.
    ///
    /// # Errors
    ///
    /// If the kernel has no descriptor left.
    pub fn new(options: Options) -> Result<Self, Errno> {
        let (sender, reports) = bounded(REPORTS_MAX);
        let signal = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let line = Line { reports: sender, signal: Arc::new(signal), numbers: Arc::new(AtomicU64::new(1)) };
        Ok(Self {
            options,
            volumes: Vec::new(),
            line,
            reports,
            ordered: BTreeMap::new(),
            watched: BTreeMap::new(),
            barriers: BTreeMap::new(),
            tickets: 0,
        })
    }

    /// Has an object watched. [`Report::Watched`] with this ticket follows; until then nothing is told of it.
    ///
    /// # Errors
    ///
    /// If the kernel has no room for a thread.
    pub fn watch(&mut self, watch: Watch) -> Result<Ticket, Errno> {
        let device = Status::device_of(&watch.object).or_else(|_| Status::of(&watch.object).map(|of| of.key.device))?;
        let ticket = self.ticket();
        let volume = match self.volumes.iter().position(|volume| volume.device == device) {
            Some(index) => index,
            None => self.start(device)?,
        };
        if let Some(volume) = self.volumes.get_mut(volume) {
            volume.pending += 1;
            self.ordered.insert(ticket, device);
            // The thread ends with its last sender only.
            let _ = volume.orders.send(Order::Watch(ticket, watch));
        }
        Ok(ticket)
    }

    /// Ends the watch of an object. One that has ended by itself is no error.
    pub fn unwatch(&mut self, id: ObjectId) {
        let Some(known) = self.watched.get(&id) else { return };
        let device = known.device;
        if let Some(volume) = self.volumes.iter_mut().find(|volume| volume.device == device) {
            let _ = volume.orders.send(Order::Unwatch(id, volume.last));
            // An order behind that may have asked for it once more; it is noted again then.
            volume.watched -= 1;
        }
        self.watched.remove(&id);
        self.drop_idle();
    }

    /// Has a snapshot taken that begins now, of all file systems. [`Report::Passed`] with this ticket follows. `None`: nothing is watched.
    pub fn barrier(&mut self) -> Option<Ticket> {
        if self.volumes.is_empty() {
            return None;
        }
        let ticket = self.ticket();
        self.barriers.insert(ticket, self.volumes.len());
        for volume in &self.volumes {
            let _ = volume.orders.send(Order::Barrier(ticket));
        }
        Some(ticket)
    }

    /// The next report, if there is any.
    pub fn next_report(&mut self) -> Option<Report> {
        loop {
            let report = match self.reports.try_recv() {
                Ok(report) => report,
                Err(_) => {
                    // Emptied, and then looked at once more: what is sent from here on signals again.
                    let _ = self.line.signal.read();
                    self.reports.try_recv().ok()?
                }
            };
            match &report {
                Report::Passed(ticket) => {
                    let Some(left) = self.barriers.get_mut(ticket) else { continue };
                    *left -= 1;
                    if *left > 0 {
                        continue;
                    }
                    self.barriers.remove(ticket);
                }
                Report::Watched(ticket, watched) => self.note(*ticket, watched),
                Report::Told(_) => {}
            }
            return Some(report);
        }
    }

    /// By what people know a watched object.
    #[must_use]
    pub fn known_by(&self, id: ObjectId) -> Option<&Known> {
        self.watched.get(&id)
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn start(&mut self, device: u64) -> Result<usize, Errno> {
        let (orders, receiver) = unbounded();
        poller::start(receiver, self.options.interval, self.line.clone()).map_err(|_| Errno::ENOMEM)?;
        self.volumes.push(Volume { device, orders, watched: 0, pending: 0, last: Ticket::default() });
        Ok(self.volumes.len() - 1)
    }

    fn note(&mut self, ticket: Ticket, watched: &Watched) {
        let Some(device) = self.ordered.remove(&ticket) else { return };
        let Some(volume) = self.volumes.iter_mut().find(|volume| volume.device == device) else { return };
        volume.pending -= 1;
        volume.last = ticket;
        if let Ok((id, known)) = watched
            && self.watched.insert(*id, known.clone()).is_none()
        {
            volume.watched += 1;
        }
        self.drop_idle();
    }

    /// A thread ends when nobody can give it orders. Barriers that it has not passed it passes before.
    fn drop_idle(&mut self) {
        self.volumes.retain(|volume| volume.watched > 0 || volume.pending > 0);
    }
}

impl AsFd for Source {
    /// Readable while there are reports.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.signal.as_fd()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Volume { device, watched, .. } in &self.volumes {
            let (major, minor) = (libc::major(*device), libc::minor(*device));
            writeln!(
                formatter,
                "poll: file system {major}:{minor}, watched objects: {watched}, every {:?}",
                self.options.interval
            )?;
        }
        Ok(())
    }
}

/// Whether a number is one that a source of this kind gives.
#[must_use]
pub fn is_polled(id: ObjectId) -> bool {
    id.0 & TAG_MASK == TAG
}
