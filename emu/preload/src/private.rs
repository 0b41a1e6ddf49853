//! The private emulator of a program that was told of none (`UINOTIFY_SOCKET`).
//!
//! It is started by the first `inotify_init` and ends by itself after the last descriptor; the next `inotify_init` starts another.
//! The program must not notice: no signal at its end, no child that `wait` could see, no descriptor left. So a child that gives no
//! signal borrows this process's memory, starts the emulator in the same way and ends; the emulator is nobody's child then. (Only
//! a program that takes in orphans, as pid 1 or by PR_SET_CHILD_SUBREAPER, gets it: exec gives a process its SIGCHLD back.)
//!
//! Several threads may come at once: one starts, the others sleep until it is done. This is the one place where the shim waits for
//! another thread.

use core::ffi::{CStr, c_char, c_void};
use core::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, Ordering, fence};

use crate::address::{ADDRESS_BYTES_MAX, Address, copy};
use crate::raw::{self, Errno, process};
use crate::{log, memory, request, settings};

/// How long an emulator may take to start, which takes some milliseconds.
const START_SECONDS: i64 = 10;
/// How long a thread waits for the one that starts it: a vfork child may have been killed while it did.
const WAIT_SECONDS: i64 = START_SECONDS + 2;

/// The low bits of the word; above them it counts, so that every emulator has a word of its own.
const NONE: u32 = 0;
const STARTING: u32 = 1;
const READY: u32 = 2;
const STATES: u32 = 3;

static WORD: AtomicU32 = AtomicU32::new(NONE);
/// The process whose thread is starting one: a forked child must not wait for a thread that it does not have.
static STARTER: AtomicI32 = AtomicI32::new(0);
/// The address as text; valid while WORD says READY, and has not changed since.
static TEXT: [AtomicU8; ADDRESS_BYTES_MAX] = [const { AtomicU8::new(0) }; ADDRESS_BYTES_MAX];
static TEXT_LENGTH: AtomicU32 = AtomicU32::new(0);

/// A private emulator.
pub struct Private {
    /// Where it is.
    pub address: Address,
    /// Which one it is: what to name when it has proved to be gone.
    pub number: u32,
    /// It lives as long as this connection, which is the caller's to close, or an instance.
    pub lifeline: Option<i32>,
}

/// The private emulator, started if there is none, or if it was number `gone`.
///
/// # Errors
///
/// EMFILE or ENFILE without a descriptor for it, ENOMEM when it cannot be started.
pub fn emulator(gone: Option<u32>) -> Result<Private, Errno> {
    let own = memory::tenant().unwrap_or_else(raw::getpid);
    let (mut has_waited, mut is_patient) = (false, true);
    loop {
        let word = WORD.load(Ordering::Acquire);
        match word & STATES {
            READY if Some(word) != gone => {
                if let Some(address) = address(word) {
                    return Ok(Private { address, number: word, lifeline: None });
                }
                continue;
            }
            STARTING if STARTER.load(Ordering::Acquire) == own && is_patient => {
                is_patient = process::sleep_while(&WORD, word, WAIT_SECONDS);
                has_waited = true;
                continue;
            }
            // Another thread has just tried, and has said why it could not.
            NONE if has_waited => return Err(Errno::NOMEM),
            _ => {}
        }
        // A signal handler on this thread could call `inotify_init`, and would wait for itself.
        let _blocked = process::block_signals();
        // The same for every thread that could come to this point now.
        STARTER.store(own, Ordering::Release);
        let mine = (word & !STATES).wrapping_add(STATES + 1) | STARTING;
        if WORD.compare_exchange(word, mine, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return start_as(mine);
        }
    }
}

/// Where the private emulator is, if one has been started.
pub fn running() -> Option<Address> {
    let word = WORD.load(Ordering::Acquire);
    if word & STATES == READY { address(word) } else { None }
}

/// With signals blocked.
fn start_as(mine: u32) -> Result<Private, Errno> {
    let started = start();
    let next = match &started {
        Ok((text, _)) => {
            for (to, &byte) in TEXT.iter().zip(text.bytes()) {
                to.store(byte, Ordering::Relaxed);
            }
            TEXT_LENGTH.store(text.bytes().len() as u32, Ordering::Relaxed);
            mine & !STATES | READY
        }
        Err(_) => mine & !STATES | NONE,
    };
    // Unless another thread has lost its patience with this one.
    let _ = WORD.compare_exchange(mine, next, Ordering::Release, Ordering::Relaxed);
    process::wake_all(&WORD);
    let (text, lifeline) = started?;
    match Address::parse(text.bytes()) {
        Some(address) => Ok(Private { address, number: next, lifeline: Some(lifeline) }),
        None => {
            let _ = raw::close(lifeline);
            Err(Errno::NOMEM)
        }
    }
}

/// The address that was READY under `word`; `None` if it is being replaced.
fn address(word: u32) -> Option<Address> {
    let mut bytes = [0; ADDRESS_BYTES_MAX];
    for (to, byte) in bytes.iter_mut().zip(&TEXT) {
        *to = byte.load(Ordering::Relaxed);
    }
    let length = TEXT_LENGTH.load(Ordering::Relaxed) as usize;
    fence(Ordering::Acquire);
    if WORD.load(Ordering::Relaxed) != word {
        return None;
    }
    Address::parse(bytes.get(..length)?)
}

/// What the emulator says at its start: its address, or after `!` why it cannot.
struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    length: usize,
}

const TEXT_BYTES_MAX: usize = 256;

impl Text {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

fn start() -> Result<(Text, i32), Errno> {
    let [ours, theirs] = raw::socket_pair()?;
    let ours = request::high(ours);
    let launched = launch(theirs);
    let _ = raw::close(theirs);
    let text = launched.and_then(|()| receive(ours));
    match text {
        Ok(text) if !text.bytes().starts_with(b"!") => Ok((text, ours)),
        failed => {
            let reason = match &failed {
                Ok(text) => text.bytes().get(1..).unwrap_or(&[]),
                Err(_) => b"its program cannot be executed (UINOTIFY_EMULATOR names it), or says nothing",
            };
            log::line(&[b"inotify_init: cannot start an emulator: ", reason]);
            let _ = raw::close(ours);
            Err(Errno::NOMEM)
        }
    }
}

fn receive(ours: i32) -> Result<Text, Errno> {
    let mut text = Text { bytes: [0; TEXT_BYTES_MAX], length: 0 };
    if !process::wait_readable(ours, START_SECONDS) {
        return Err(Errno::NOMEM);
    }
    // SAFETY: the buffer lives through the call, with its length beside it.
    text.length = unsafe { raw::receive(ours, text.bytes.as_mut_ptr().cast(), TEXT_BYTES_MAX, raw::MSG_DONTWAIT) }?;
    if text.length == 0 { Err(Errno::NOMEM) } else { Ok(text) }
}

const STACK_BYTES: usize = 64 * 1024;

/// What the children are told.
struct Orders {
    connection: i32,
    /// Where the stack of the second one ends.
    stack_top: *mut u8,
}

/// Starts the emulator's program with `connection` as its descriptor 3.
fn launch(connection: i32) -> Result<(), Errno> {
    let memory = process::map_memory(2 * STACK_BYTES)?;
    let orders = Orders { connection, stack_top: memory.wrapping_add(2 * STACK_BYTES) };
    // SAFETY: the lower half is the child's stack alone, and it keeps to what is asked of it.
    let child =
        unsafe { process::run_in_child(in_between, (&raw const orders).cast(), memory.wrapping_add(STACK_BYTES)) };
    if let Ok(pid) = child {
        // It has ended. A thread that waits for such children too may have been first.
        let _ = process::reap(pid as i32);
    }
    // SAFETY: the first child has ended, and the second has executed a program or ended before that.
    unsafe { process::unmap_memory(memory, 2 * STACK_BYTES) };
    child.map(drop)
}

/// The first child: when it has ended, the second one is an orphan.
extern "C" fn in_between(orders: *const c_void) -> i32 {
    // SAFETY: `launch` has passed its orders, and waits.
    let orders = unsafe { &*orders.cast::<Orders>() };
    // SAFETY: the upper half is the second child's stack alone.
    let child = unsafe { process::run_in_child(become_emulator, (&raw const *orders).cast(), orders.stack_top) };
    i32::from(child.is_err())
}

/// The second child. Signals stay blocked, until the emulator has told which it takes.
extern "C" fn become_emulator(orders: *const c_void) -> i32 {
    const CONNECTION: i32 = 3;
    const CANNOT_EXECUTE: i32 = 126;
    // SAFETY: `launch` has passed its orders, and waits.
    let orders = unsafe { &*orders.cast::<Orders>() };
    if process::pass_on(orders.connection, CONNECTION).is_err() {
        return CANNOT_EXECUTE;
    }
    let named = settings::emulator_program();
    // What a user says must not be executed with rights that the user does not have.
    if !named.is_empty() && !process::has_rights_of_its_file() {
        execute(named);
        return CANNOT_EXECUTE;
    }
    let library = settings::library().to_bytes();
    let folder = library.iter().rposition(|&byte| byte == b'/').and_then(|slash| library.get(..=slash)).unwrap_or(&[]);
    // Beside the library: the link that its installer has left, then where a package or a build puts the command.
    let places: [[&[u8]; 2]; 3] = [
        [library.strip_suffix(b".so").unwrap_or(library), b".emulator"],
        [folder, b"uinotify"],
        [folder, b"../bin/uinotify"],
    ];
    for place in places {
        let mut path = [0; 4096 + 16];
        let mut end = 0;
        for part in place {
            end += path.get_mut(end..).and_then(|room| copy(part, room)).unwrap_or(0);
        }
        if let Ok(path) = CStr::from_bytes_until_nul(&path)
            && path.to_bytes().starts_with(b"/")
        {
            execute(path);
        }
    }
    CANNOT_EXECUTE
}

fn execute(path: &CStr) {
    let arguments =
        [c"uinotify".as_ptr(), c"emulate".as_ptr(), c"--ready-fd".as_ptr(), c"3".as_ptr(), core::ptr::null()];
    let runtime_folder = settings::runtime_folder();
    let runtime_folder = if runtime_folder.is_empty() { core::ptr::null() } else { runtime_folder.as_ptr() };
    // Where the library is preloaded into every program, it must leave the emulator's own inotify alone.
    let environment: [*const c_char; 3] = [c"UINOTIFY_DISABLE=1".as_ptr(), runtime_folder, core::ptr::null()];
    // SAFETY: both arrays hold strings that live for ever, and end with null.
    unsafe { process::execute(path, &arguments, &environment) };
}
