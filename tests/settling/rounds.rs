//! Rounds of: another process writes, this one is told, and asks. The kernel's own instance beside says what has to be seen.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::{Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::call::{self, Poll, Way};
use crate::process;
use crate::question::{Answer, CHILD_ROOM_MAX, LONG, Question, Subject};
use crate::random::Random;
use crate::shared::{self, Shareable, Shared};
use crate::writer::{WATCHED_FILE, Writer};

/// What is left unread stays far below `max_queued_events`, so that no round overflows.
const UNREAD_BYTES_MAX: usize = 100_000;

/// With more unread the window may be full, and what is queued behind it makes no edge: `queue::edges` is about that.
const UNREAD_FOR_EDGES_MAX: usize = 1600;

/// Misses that are shown in full.
const SHOWN_MAX: u64 = 3;

/// A buffer for all that a round leaves.
const DRAIN_ROOM: usize = 1 << 20;

/// The order of a round to the writer.
#[repr(C)]
struct Order {
    /// Counts orders.
    issued: AtomicU32,
    /// The last order that is done, unless it was reported by pipe.
    reported: AtomicU32,
    /// The last order of which the reader has come to its question.
    asked: AtomicU32,
    seed: AtomicU64,
    operations: AtomicU32,
    by_pipe: AtomicU32,
    stop: AtomicU32,
    yields: AtomicU32,
}

// SAFETY: it consists of atomics.
unsafe impl Shareable for Order {}

/// When the emulator is stopped, until the reader asks.
const STOP_NEVER: u32 = 0;
const STOP_BEFORE: u32 = 1;
const STOP_AFTER: u32 = 2;

/// How the reader learns that the operations are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handover {
    Pipe,
    Futex,
    ExitStatus,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    seed: u64,
    operations: u32,
    handover: Handover,
    stop: u32,
    yields: u32,
    pause_microseconds: u32,
    question: Question,
}

/// What is asked of a run of rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) rounds: u64,
    pub(crate) seed: u64,
    /// Asks past the shim, and counts misses instead of failing.
    pub(crate) is_control: bool,
    /// Nothing can be written while the emulator is stopped: it does that itself.
    pub(crate) is_in_tree: bool,
}

struct Reader {
    folder: std::path::PathBuf,
    emulated: Subject,
    kernel: Subject,
    order: Shared<Order>,
    report: RawFd,
    random: Random,
    is_control: bool,
    is_in_tree: bool,
}

/// Runs rounds until as many have produced events, and says how many were missed.
pub(crate) fn rounds(folder: &Path, settings: Settings) -> Result<()> {
    let start = std::time::Instant::now();
    let (report, reporter) = nix::unistd::pipe()?;
    let other = nix::sys::eventfd::EventFd::from_value_and_flags(1, nix::sys::eventfd::EfdFlags::EFD_CLOEXEC)?;
    fs::write(folder.join(WATCHED_FILE), "")?;
    let way = if settings.is_control { Way::Raw } else { Way::Libc };
    let subject = |init, way| -> Result<Subject, Errno> {
        let fd: OwnedFd = call::init(init, libc::IN_NONBLOCK)?;
        let folder_wd = call::add_watch(init, fd.as_raw_fd(), folder, libc::IN_ALL_EVENTS)?;
        let file_wd = call::add_watch(init, fd.as_raw_fd(), &folder.join(WATCHED_FILE), libc::IN_ALL_EVENTS)?;
        assert_eq!((folder_wd, file_wd), (1, 2));
        Subject::new(fd, way, other.as_raw_fd(), report.as_raw_fd())
    };
    let emulated = subject(Way::Libc, way)?;
    let kernel = subject(Way::Raw, Way::Raw)?;
    let emulator = call::emulator_of(emulated.fd.as_raw_fd());
    println!("emulator {emulator}");
    let mut reader = Reader {
        folder: folder.into(),
        emulated,
        kernel,
        order: Shared::new(),
        report: report.as_raw_fd(),
        random: Random::new(settings.seed),
        is_control: settings.is_control,
        is_in_tree: settings.is_in_tree,
    };
    let writer = process::start(|| {
        serve(folder, &reader.order, File::from(reporter.try_clone().expect("a descriptor")), emulator);
    });
    let outcome = reader.run(settings.rounds);
    process::end(writer);
    let (misses, asked) = outcome?;
    let kinds: Vec<_> = asked.iter().map(|(kind, (count, missed))| format!("{kind} {missed}/{count}")).collect();
    println!(
        "{} rounds, {misses} misses, {:.1} s, UINOTIFY_SEED={}; misses of each question: {}",
        settings.rounds,
        start.elapsed().as_secs_f64(),
        settings.seed,
        kinds.join(", ")
    );
    if settings.is_control {
        ensure!(misses > 0, "asking past the shim misses nothing: this test cannot fail");
    } else {
        ensure!(misses == 0, "{misses} misses");
    }
    Ok(())
}

/// The writer's process.
fn serve(folder: &Path, order: &Order, mut reporter: File, emulator: i32) {
    let emulator = Pid::from_raw(emulator);
    let mut writer = Writer::new(folder);
    let mut number = 0;
    loop {
        shared::wait_while(&order.issued, number);
        number += 1;
        let load = |word: &AtomicU32| word.load(Ordering::Relaxed);
        let (stop, operations) = (load(&order.stop), load(&order.operations));
        if stop == STOP_BEFORE {
            kill(emulator, Signal::SIGSTOP).expect("the emulator is alive");
        }
        writer.run(order.seed.load(Ordering::Relaxed), operations);
        if stop == STOP_AFTER {
            shared::spin(load(&order.yields));
            kill(emulator, Signal::SIGSTOP).expect("the emulator is alive");
        }
        let yields = load(&order.yields);
        if load(&order.by_pipe) != 0 {
            reporter.write_all(b"x").expect("the reader has the other end");
        } else {
            shared::set_and_wake(&order.reported, number);
        }
        if stop != STOP_NEVER {
            // The question may be one that the stopped emulator is not needed for.
            shared::yield_until(2000, || load(&order.asked) == number);
            shared::yield_until(yields, || false);
            kill(emulator, Signal::SIGCONT).expect("the emulator is alive");
        }
    }
}

type Asked = BTreeMap<String, (u64, u64)>;

impl Reader {
    fn run(&mut self, rounds: u64) -> Result<(u64, Asked)> {
        let (mut done, mut misses, mut asked) = (0, 0, Asked::new());
        let mut number = 0;
        while done < rounds {
            number += 1;
            let before = self.kernel.queued_bytes()?;
            let round = self.choose(before);
            self.hand_over(number, round)?;
            if self.kernel.queued_bytes()? == 0 && matches!(round.question, Question::BlockingRead { .. }) {
                self.take_report(round)?;
                continue;
            }
            shared::spin(round.pause_microseconds);
            self.order.asked.store(number, Ordering::Relaxed);
            let emulated =
                if self.is_control { self.ask_past(round.question)? } else { self.emulated.ask(round.question)? };
            let queued = self.kernel.queued_bytes()?;
            let kernel = if self.is_control {
                self.ask_kernel_whole(round.question)?
            } else {
                self.kernel.ask(round.question)?
            };
            self.take_report(round)?;
            let (emulated, kernel) = (self.comparable(emulated), self.comparable(kernel));
            let is_missed = is_missed(round.question, &emulated, &kernel);
            // Where all merged into what was there already nothing could be missed.
            if queued != before || is_missed {
                done += 1;
                let kind = format!("{:?}", round.question);
                let kind = kind.split(" { room").next().unwrap_or_default().to_owned();
                let count = asked.entry(kind).or_default();
                count.0 += 1;
                count.1 += u64::from(is_missed);
            }
            if is_missed {
                misses += 1;
                if misses <= SHOWN_MAX && !self.is_control {
                    println!("missed in round {number}: {round:?}");
                    println!("  the kernel's has {} and the emulated one {}", kernel.show(), emulated.show());
                }
                self.resynchronise()?;
            } else if self.is_control {
                self.resynchronise()?;
            } else if let Err(difference) = self.drain(queued)? {
                misses += 1;
                if misses <= SHOWN_MAX {
                    println!("missed after round {number}: {round:?}\n  {difference}");
                }
                self.resynchronise()?;
            }
            ensure!(misses < 100 || self.is_control, "{misses} misses in {done} rounds");
        }
        Ok((misses, asked))
    }

    fn choose(&mut self, unread: usize) -> Round {
        let random = &mut self.random;
        let room = *random.choose(&[16, 32, 48, 100, 271, 272, 273, 4096, 65536, 65536, 65536, 65536]);
        let polls = [Poll::Poll, Poll::PPoll, Poll::Select, Poll::PSelect];
        let poll = *random.choose(&polls);
        let edge = random.once_in(2) && unread < UNREAD_FOR_EDGES_MAX;
        let mut question = if self.is_control {
            match random.below(4) {
                0 => Question::Read { room: 65536 },
                1 => Question::QueuedBytes,
                2 => Question::Now(poll),
                _ => Question::EpollNow { edge },
            }
        } else {
            match random.below(16) {
                0..4 => Question::Read { room },
                4 => Question::BlockingRead { room },
                5 => Question::ReadPieces { rooms: [room, *random.choose(&[16, 48, 512]), 4096] },
                6..8 => Question::QueuedBytes,
                8..10 => Question::Now(poll),
                10 => Question::WithOther(poll),
                11 => Question::WithReport(poll),
                12 => Question::EpollNow { edge },
                13 => Question::EpollWithOther { edge },
                14 => Question::EpollWithReport,
                _ => Question::Read { room: 65536 },
            }
        };
        if !self.is_control && random.once_in(32) {
            question = Question::ChildRead { room: room.min(CHILD_ROOM_MAX) };
        }
        let mut handover = match random.below(32) {
            0..2 => Handover::ExitStatus,
            2..18 => Handover::Pipe,
            _ => Handover::Futex,
        };
        if matches!(question, Question::WithReport(_) | Question::EpollWithReport) {
            handover = Handover::Pipe;
        }
        let can_stop = handover != Handover::ExitStatus;
        Round {
            seed: random.next(),
            operations: if random.once_in(64) { 50 + random.below(600) } else { 1 + random.below(3) },
            handover,
            stop: match random.below(64) {
                0 if can_stop && !self.is_in_tree => STOP_BEFORE,
                1 if can_stop => STOP_AFTER,
                _ => STOP_NEVER,
            },
            yields: random.below(50),
            pause_microseconds: if random.once_in(2) { random.below(60) } else { 0 },
            question,
        }
    }

    /// Has the operations done and, unless the question is to wait for it, waits for the report.
    fn hand_over(&self, number: u32, round: Round) -> Result<()> {
        let order = &*self.order;
        let is_own_child = round.handover == Handover::ExitStatus;
        order.seed.store(round.seed, Ordering::Relaxed);
        // The writer follows the numbers of all rounds.
        order.operations.store(if is_own_child { 0 } else { round.operations }, Ordering::Relaxed);
        order.by_pipe.store(u32::from(round.handover == Handover::Pipe), Ordering::Relaxed);
        order.stop.store(round.stop, Ordering::Relaxed);
        order.yields.store(round.yields, Ordering::Relaxed);
        shared::set_and_wake(&order.issued, number);
        match round.handover {
            Handover::Futex => self.wait_for_futex(number),
            Handover::Pipe if waits_itself(round.question) => {}
            Handover::Pipe => {
                call::readable(Way::Raw, Poll::PPoll, &[self.report], LONG)?;
            }
            Handover::ExitStatus => {
                self.wait_for_futex(number);
                // Its end closes what it has open.
                process::run(|| Writer::new(&self.folder).run(round.seed, round.operations));
            }
        }
        Ok(())
    }

    fn wait_for_futex(&self, number: u32) {
        let reported = &self.order.reported;
        loop {
            let seen = reported.load(Ordering::Acquire);
            if seen == number {
                return;
            }
            shared::wait_while(reported, seen);
        }
    }

    fn take_report(&self, round: Round) -> Result<()> {
        if round.handover == Handover::Pipe {
            let byte = call::read(Way::Raw, self.report, 1)?;
            ensure!(byte == b"x", "the writer's report");
        }
        Ok(())
    }

    /// The question past the shim, where one read gives one event.
    fn ask_past(&self, question: Question) -> Result<Answer, Errno> {
        match question {
            Question::Read { .. } => Ok(Answer::Bytes(Ok(self.read_all(&self.emulated)))),
            other => self.emulated.ask(other),
        }
    }

    fn ask_kernel_whole(&self, question: Question) -> Result<Answer, Errno> {
        match question {
            Question::Read { .. } => Ok(Answer::Bytes(Ok(self.read_all(&self.kernel)))),
            other => self.kernel.ask(other),
        }
    }

    /// In a tree renames are counted by the emulator and not by the kernel.
    fn comparable(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Bytes(bytes) if self.is_in_tree => Answer::Bytes(bytes.map(call::with_equal_cookies)),
            answer => answer,
        }
    }

    fn read_all(&self, subject: &Subject) -> Vec<u8> {
        let mut all = Vec::new();
        while let Ok(bytes) = subject.read(DRAIN_ROOM) {
            all.extend(bytes);
        }
        all
    }

    /// Reads on, most times until nothing is left, on both sides; the inner result says how they differ.
    fn drain(&mut self, queued: usize) -> Result<Result<(), String>> {
        let mut reads = match self.random.below(8) {
            0 if queued < UNREAD_BYTES_MAX => 0,
            1 if queued < UNREAD_BYTES_MAX => 1,
            _ => u32::MAX,
        };
        while reads > 0 {
            reads -= 1;
            let room = if reads < 8 { 16 + self.random.below(300) as usize } else { DRAIN_ROOM };
            let [emulated, kernel] = [&self.emulated, &self.kernel].map(|subject| {
                let bytes = subject.read(room);
                if self.is_in_tree { bytes.map(call::with_equal_cookies) } else { bytes }
            });
            if emulated != kernel {
                let (emulated, kernel) = (call::show(&emulated), call::show(&kernel));
                return Ok(Err(format!(
                    "read({room}) of the kernel's gives {kernel} and of the emulated one {emulated}"
                )));
            }
            match kernel {
                Ok(_) | Err(Errno::EINVAL) => {}
                Err(Errno::EAGAIN) => return Ok(Ok(())),
                Err(errno) => bail!("the kernel's own instance gives {errno}"),
            }
        }
        Ok(Ok(()))
    }

    /// After a miss: nothing is left on either side.
    fn resynchronise(&self) -> Result<()> {
        // Past the shim nobody settles: a read by libc does.
        while call::read(Way::Libc, self.emulated.fd.as_raw_fd(), DRAIN_ROOM).is_ok() {}
        while self.kernel.read(DRAIN_ROOM).is_ok() {}
        Ok(())
    }
}

fn waits_itself(question: Question) -> bool {
    matches!(question, Question::WithReport(_) | Question::EpollWithReport)
}

/// Does the emulated answer lack something?
fn is_missed(question: Question, emulated: &Answer, kernel: &Answer) -> bool {
    match question {
        // What comes into the window later is an edge more; one less would be a miss.
        Question::EpollNow { edge: true } | Question::EpollWithOther { edge: true } => {
            *kernel == Answer::IsReady(true) && *emulated == Answer::IsReady(false)
        }
        _ => emulated != kernel,
    }
}
