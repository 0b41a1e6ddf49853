//! Ways of calling, each a program whose lines must be the same natively and emulated.

use std::path::Path;

use libtest_mimic::{Completion, Failed};

use crate::compare::{Side, run};
use crate::expected::WAYS;

#[path = "way/by_name.rs"]
mod by_name;
#[path = "way/cancellation.rs"]
mod cancellation;
#[path = "way/closing.rs"]
mod closing;
#[path = "way/confined.rs"]
mod confined;
#[path = "way/handler.rs"]
mod handler;
#[path = "way/library.rs"]
pub(crate) mod library;
#[path = "way/notification.rs"]
mod notification;
#[path = "way/passing.rs"]
mod passing;
#[path = "way/reading.rs"]
mod reading;
#[path = "way/ring.rs"]
mod ring;
#[path = "way/spawning.rs"]
mod spawning;

/// What a program says first that cannot run here.
const IGNORED: &str = "ignored: ";

type Way = fn(&Path);

/// All programs by name.
pub(crate) const PROGRAMS: &[(&str, Way)] = &[
    ("by_the_handle_of_libc", by_name::handle_of_libc),
    ("by_the_next_object", by_name::next_object),
    ("by_version", by_name::version),
    ("by_number", by_name::number),
    ("cancelled_threads", cancellation::blocked),
    ("threads_with_a_cancellation_pending", cancellation::pending),
    ("close_range_and_closefrom", closing::ranges),
    ("in_a_chroot", confined::changed_root),
    ("as_another_user", confined::other_user),
    ("in_signal_handlers", handler::storm),
    ("sigio", notification::signals),
    ("received_descriptors", passing::received),
    ("closed_under_a_reader", reading::closed),
    ("io_uring", ring::requests),
    ("between_vfork_and_exec", spawning::vfork),
    ("clone_by_number", spawning::clone_by_number),
    ("after_exec", spawning::exec),
];

/// Programs that others start: the new images.
pub(crate) const IMAGES: &[(&str, Way)] = &[("image", spawning::image)];

/// Runs one on both sides and compares what they say.
pub(crate) fn compare(name: &'static str, side: Side) -> Result<Completion, Failed> {
    let native = said(Side::Native, name)?;
    if let Some(reason) = native.strip_prefix(IGNORED) {
        return Ok(Completion::ignored_with(reason.trim().to_owned()));
    }
    if native.is_empty() {
        return Err("nothing is said".into());
    }
    let emulated = said(side, name)?;
    let (native, emulated): (Vec<_>, Vec<_>) = (native.lines().collect(), emulated.lines().collect());
    let mut report = Vec::new();
    let known: Vec<_> = WAYS.iter().filter(|way| way.program == name).collect();
    let mut met = vec![false; known.len()];
    for index in 0..native.len().max(emulated.len()) {
        let sides = [&native, &emulated].map(|lines| lines.get(index).copied().unwrap_or("nothing"));
        match known.iter().position(|way| [way.native, way.emulated] == sides) {
            Some(known) => met[known] = true,
            None if sides[0] == sides[1] => {}
            None => report.push(format!("native   {}\nemulated {}", sides[0], sides[1])),
        }
    }
    for (way, _) in known.iter().zip(met).filter(|(_, is_met)| !is_met) {
        report.push(format!("{} is not met: {} | {}", way.id, way.native, way.emulated));
    }
    if report.is_empty() { Ok(Completion::Completed) } else { Err(report.join("\n").into()) }
}

fn said(side: Side, name: &str) -> Result<String, Failed> {
    let room = tempfile::tempdir()?;
    let folder = room.path().join("folder");
    std::fs::create_dir(&folder)?;
    run(side, room.path(), name, &folder)
}

/// Lets others run until it holds, but not for ever.
pub(crate) fn yield_until(mut holds: impl FnMut() -> bool) -> bool {
    (0..2_000_000).any(|_| {
        if holds() {
            return true;
        }
        std::thread::yield_now();
        false
    })
}

/// Waits until that thread of this process has come to wait for the events of `fd`: by `read(2)`, or by what stands for it. It may
/// have slept before on its way there.
pub(crate) fn waits_for(thread: i32, fd: i32) -> bool {
    let path = format!("/proc/self/task/{thread}/syscall");
    yield_until(|| {
        let call = std::fs::read_to_string(&path).unwrap_or_default();
        let mut words = call.split(' ');
        let number = words.next().and_then(|number| number.parse().ok());
        let is_read = [libc::SYS_read, libc::SYS_recvfrom, libc::SYS_recvmsg].map(Some).contains(&number);
        is_read && words.next() == Some(&format!("{fd:#x}"))
    })
}

/// Waits until that thread of this process sleeps in a call, and stays there.
pub(crate) fn is_asleep(thread: i32) -> bool {
    let path = format!("/proc/self/task/{thread}/stat");
    let mut seen = 0;
    yield_until(|| {
        let stat = std::fs::read_to_string(&path).unwrap_or_default();
        let sleeps = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'));
        // It may be on its way there through a short wait.
        seen = if sleeps { seen + 1 } else { 0 };
        seen >= 50
    })
}
