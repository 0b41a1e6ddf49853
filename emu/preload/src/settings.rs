//! What the environment says, read once by the constructor.

use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::address::{Address, copy};
use crate::raw::process::working_folder;

const LOG_BYTES_MAX: usize = 256;
/// `PATH_MAX`.
const PATH_BYTES_MAX: usize = 4096;

struct Settings {
    address: Address,
    log: [u8; LOG_BYTES_MAX],
    program: [u8; PATH_BYTES_MAX],
    library: [u8; PATH_BYTES_MAX],
    runtime_folder: [u8; PATH_BYTES_MAX],
}

struct Once(UnsafeCell<Settings>);

// SAFETY: written by the constructor before STATE says so, only read afterwards.
unsafe impl Sync for Once {}

static SETTINGS: Once = Once(UnsafeCell::new(Settings::EMPTY));

const READ: u32 = 1;
const ADDRESSED: u32 = 2;
const SETTLE_BY_REQUEST: u32 = 4;
const UNUSABLE: u32 = 8;
static STATE: AtomicU32 = AtomicU32::new(0);

/// The emulator that this program is to use.
#[derive(Clone, Copy)]
pub enum Emulator {
    /// The one of `UINOTIFY_SOCKET`.
    At(&'static Address),
    /// One of its own, which the shim starts.
    Private,
    /// `UINOTIFY_SOCKET` cannot be understood.
    Unknown,
}

/// How a variable's value reads.
enum Variable<'a> {
    Socket(&'a [u8]),
    Disable(&'a [u8]),
    Log(&'a [u8]),
    Settle(&'a [u8]),
    Emulator(&'a [u8]),
    RuntimeFolder,
}

fn variable(entry: &[u8]) -> Option<Variable<'_>> {
    if entry.starts_with(RUNTIME_FOLDER) {
        return Some(Variable::RuntimeFolder);
    }
    let rest = entry.strip_prefix(b"UINOTIFY_")?;
    let split = rest.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (rest.get(..split)?, rest.get(split + 1..)?);
    Some(match name {
        b"SOCKET" => Variable::Socket(value),
        b"DISABLE" => Variable::Disable(value),
        b"LOG" => Variable::Log(value),
        b"SETTLE" => Variable::Settle(value),
        b"EMULATOR" => Variable::Emulator(value),
        _ => return None,
    })
}

const RUNTIME_FOLDER: &[u8] = b"XDG_RUNTIME_DIR=";

/// Keeps a string that ends with a zero byte; one that is too long is no string at all.
fn keep(value: &[u8], room: &mut [u8]) {
    let Some((last, front)) = room.split_last_mut() else { return };
    *last = 0;
    let kept = copy(value, front).unwrap_or(0);
    if let Some(end) = room.get_mut(kept) {
        *end = 0;
    }
}

/// The string that [`keep`] has put there.
fn kept(room: &[u8]) -> &CStr {
    CStr::from_bytes_until_nul(room).unwrap_or(c"")
}

impl Settings {
    const EMPTY: Self = Self {
        address: Address::EMPTY,
        log: [0; LOG_BYTES_MAX],
        program: [0; PATH_BYTES_MAX],
        library: [0; PATH_BYTES_MAX],
        runtime_folder: [0; PATH_BYTES_MAX],
    };

    /// The library's own path, for a program that may change its folder.
    fn set_library(&mut self, path: &[u8]) {
        if path.starts_with(b"/") {
            return keep(path, &mut self.library);
        }
        let folder_length = working_folder(&mut self.library).map_or(0, |folder| folder.len());
        // The zero byte at its end makes room for the slash.
        if let Some(slash) = folder_length.checked_sub(1).and_then(|at| self.library.get_mut(at)) {
            *slash = b'/';
        }
        match self.library.get_mut(folder_length..) {
            Some(room) if folder_length > 0 && path.len() < room.len() => keep(path, room),
            _ => keep(b"", &mut self.library),
        }
    }
}

/// Reads the environment, and keeps the path of this library, if known. To be called once, by the constructor.
pub fn initialise<'a>(environment: impl Iterator<Item = &'a [u8]>, library: Option<&[u8]>) {
    // SAFETY: the constructor runs once and before anybody reads; STATE is published at the end.
    let settings = unsafe { &mut *SETTINGS.0.get() };
    let (mut state, mut disabled) = (READ, false);
    for entry in environment {
        match variable(entry) {
            Some(Variable::Socket(value)) if !value.is_empty() => {
                state |= ADDRESSED;
                match Address::parse(value) {
                    Some(address) => settings.address = address,
                    None => state |= UNUSABLE,
                }
            }
            Some(Variable::Disable(value)) => disabled = !value.is_empty() && value != b"0",
            Some(Variable::Log(value)) => keep(value, &mut settings.log),
            Some(Variable::Settle(value)) if value == b"request" => state |= SETTLE_BY_REQUEST,
            Some(Variable::Emulator(value)) => keep(value, &mut settings.program),
            Some(Variable::RuntimeFolder) => keep(entry, &mut settings.runtime_folder),
            _ => {}
        }
    }
    if state & ADDRESSED == 0
        && !disabled
        && let Some(library) = library
    {
        settings.set_library(library);
    }
    STATE.store(if disabled { 0 } else { state }, Ordering::Release);
}

/// Is the shim to do anything at all? Not before the constructor, and not under `UINOTIFY_DISABLE=1`.
pub fn is_active() -> bool {
    STATE.load(Ordering::Acquire) & READ != 0
}

fn settings() -> Option<&'static Settings> {
    // SAFETY: the constructor has finished writing, as STATE shows.
    is_active().then(|| unsafe { &*SETTINGS.0.get() })
}

/// Must every settling go through a request (`UINOTIFY_SETTLE=request`)? Then the shim holds no descriptor of its own.
pub fn settles_by_request() -> bool {
    STATE.load(Ordering::Relaxed) & SETTLE_BY_REQUEST != 0
}

/// The emulator of this program, if it is to be emulated.
pub fn emulator() -> Option<Emulator> {
    let settings = settings()?;
    let state = STATE.load(Ordering::Relaxed);
    Some(match (state & ADDRESSED != 0, state & UNUSABLE != 0) {
        (false, _) => Emulator::Private,
        (true, false) => Emulator::At(&settings.address),
        (true, true) => Emulator::Unknown,
    })
}

/// The program that is to be the private emulator (`UINOTIFY_EMULATOR`); empty if it is to be found.
pub fn emulator_program() -> &'static CStr {
    settings().map_or(c"", |settings| kept(&settings.program))
}

/// Path of this library; empty if it is not known.
pub fn library() -> &'static CStr {
    settings().map_or(c"", |settings| kept(&settings.library))
}

/// The environment's entry `XDG_RUNTIME_DIR=`; empty if there is none.
pub fn runtime_folder() -> &'static CStr {
    settings().map_or(c"", |settings| kept(&settings.runtime_folder))
}

/// Where the log goes (`UINOTIFY_LOG`): a path or "stderr"; empty if there is none.
pub fn log() -> &'static CStr {
    settings().map_or(c"", |settings| kept(&settings.log))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_variables_are_read() {
        assert!(variable(b"PATH=/bin").is_none());
        assert!(variable(b"UINOTIFY_SOCKET").is_none());
        assert!(variable(b"UINOTIFY_SOCKETS=1").is_none());
        assert!(variable(b"XDG_RUNTIME_DIRS=/x").is_none());
        assert!(matches!(variable(b"UINOTIFY_SOCKET=a=b"), Some(Variable::Socket(b"a=b"))));
    }

    #[test]
    fn a_string_is_kept_whole_or_not_at_all() {
        let mut room = [b'x'; 4];
        keep(b"abc", &mut room);
        assert_eq!(kept(&room), c"abc");
        keep(b"abcd", &mut room);
        assert_eq!(kept(&room), c"");
        keep(b"a", &mut room);
        assert_eq!(kept(&room), c"a");
    }

    #[test]
    fn a_relative_path_is_seen_from_the_folder_of_the_start() {
        let mut settings = Settings::EMPTY;
        settings.set_library(b"./x.so");
        let mut folder = [0; 4096];
        let folder = working_folder(&mut folder).expect("a folder");
        let (_, folder) = folder.split_last().expect("a zero byte");
        assert_eq!(kept(&settings.library).to_bytes().strip_prefix(folder), Some(&b"/./x.so"[..]));
        settings.set_library(b"/lib/x.so");
        assert_eq!(kept(&settings.library), c"/lib/x.so");
        settings.set_library(&[b'x'; PATH_BYTES_MAX]);
        assert_eq!(kept(&settings.library), c"");
    }
}
