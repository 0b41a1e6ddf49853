//! The thread that looks at one file system, which may take its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use nix::sys::eventfd::EventFd;
use uinotify_core::ObjectId;

use super::difference::Difference;
use super::look_up::Freshness;
use super::report::{Order, Report, Watch};
use super::snapshot::Volume;
use super::source::TAG;

/// So many changes are handed over at a time: whoever takes them has other things to do as well.
const TOLD_MAX: usize = 512;

/// What a thread needs to report.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) reports: Sender<Report>,
    /// Readable while there are any.
    pub(super) signal: Arc<EventFd>,
    /// Objects of all threads are numbered together.
    pub(super) numbers: Arc<AtomicU64>,
}

impl Line {
    /// False: nobody listens any more. Waits for room.
    fn report(&self, report: Report) -> bool {
        // A counter that is full has been seen by nobody yet.
        self.reports.send(report).is_ok() && self.signal.write(1).is_ok()
    }

    fn tell(&self, differences: Vec<Difference>) -> bool {
        let mut rest = differences;
        while !rest.is_empty() {
            let behind = rest.split_off(rest.len().min(TOLD_MAX));
            if !self.report(Report::Told(std::mem::replace(&mut rest, behind))) {
                return false;
            }
        }
        true
    }

    fn number(&self) -> ObjectId {
        ObjectId(TAG | self.numbers.fetch_add(1, Ordering::Relaxed))
    }
}

/// Starts the thread. It ends when nobody can give it orders any more.
///
/// # Errors
///
/// If the kernel has no room for a thread.
pub(super) fn start(orders: Receiver<Order>, interval: Duration, line: Line) -> std::io::Result<()> {
    let poller = Poller { orders, interval, line, volume: None, next: Instant::now() };
    thread::Builder::new().name("poll".into()).spawn(move || poller.run()).map(drop)
}

struct Poller {
    orders: Receiver<Order>,
    interval: Duration,
    line: Line,
    volume: Option<Volume>,
    /// When to take the next snapshot.
    next: Instant,
}

impl Poller {
    fn run(mut self) {
        loop {
            let is_idle = self.volume.as_ref().is_none_or(Volume::is_empty);
            let order = if is_idle {
                self.orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.orders.recv_deadline(self.next)
            };
            let goes_on = match order {
                // However many orders there are, the others are not forgotten.
                Ok(order) => self.obey(order) && (Instant::now() < self.next || self.snapshot(Freshness::AsStat)),
                Err(RecvTimeoutError::Timeout) => self.snapshot(Freshness::AsStat),
                Err(RecvTimeoutError::Disconnected) => false,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// An order, and all that wait behind it. Snapshots that were ordered are one.
    fn obey(&mut self, order: Order) -> bool {
        let mut barriers = Vec::new();
        for order in std::iter::once(order).chain(self.orders.clone().try_iter()) {
            let goes_on = match order {
                Order::Watch(ticket, watch) => {
                    let (told, watched) = self.watch(ticket, watch);
                    self.line.tell(told) && self.line.report(Report::Watched(ticket, watched))
                }
                Order::Unwatch(id, last) => {
                    if let Some(volume) = &mut self.volume {
                        volume.unwatch(id, last);
                    }
                    true
                }
                Order::Barrier(ticket) => {
                    barriers.push(ticket);
                    true
                }
            };
            if !goes_on {
                return false;
            }
        }
        if barriers.is_empty() {
            return true;
        }
        self.snapshot(Freshness::Asked) && barriers.into_iter().all(|ticket| self.line.report(Report::Passed(ticket)))
    }

    fn watch(
        &mut self,
        ticket: super::report::Ticket,
        Watch { object, mask, check }: Watch,
    ) -> (Vec<Difference>, super::source::Watched) {
        use std::os::fd::AsFd;
        if let Err(errno) = check(object.as_fd()) {
            return (Vec::new(), Err(errno));
        }
        // What the device had before may have been another file system.
        if self.volume.as_ref().is_none_or(Volume::is_empty) {
            match Volume::new(object.as_fd()) {
                Ok(volume) => self.volume = Some(volume),
                Err(errno) => return (Vec::new(), Err(errno)),
            }
            self.next = Instant::now() + self.interval;
        }
        let Some(volume) = &mut self.volume else { return (Vec::new(), Err(nix::errno::Errno::EIO)) };
        volume.watch(object, mask, ticket, || self.line.number())
    }

    /// Snapshots that take longer than the interval leave as much time between them as they take.
    fn snapshot(&mut self, freshness: Freshness) -> bool {
        let begun = Instant::now();
        let told = self.volume.as_mut().map(|volume| volume.snapshot(freshness)).unwrap_or_default();
        let ended = Instant::now();
        self.next = (begun + self.interval).max(ended + (ended - begun));
        self.line.tell(told)
    }
}
