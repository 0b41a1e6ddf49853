//! What the environment says, read once by the constructor.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

use uinotify_wire::TOKEN_BYTES;

/// The longest `sun_path`, which leaves room for the zero byte.
const PATH_BYTES_MAX: usize = 107;
const LOG_BYTES_MAX: usize = 256;

struct Settings {
    socket: [u8; PATH_BYTES_MAX],
    socket_length: usize,
    token: [u8; TOKEN_BYTES],
    token_length: usize,
    log: [u8; LOG_BYTES_MAX],
}

struct Once(UnsafeCell<Settings>);

// SAFETY: written by the constructor before STATE says so, only read afterwards.
unsafe impl Sync for Once {}

static SETTINGS: Once = Once(UnsafeCell::new(Settings {
    socket: [0; PATH_BYTES_MAX],
    socket_length: 0,
    token: [0; TOKEN_BYTES],
    token_length: 0,
    log: [0; LOG_BYTES_MAX],
}));

const READ: u32 = 1;
const EMULATED: u32 = 2;
const SETTLE_BY_REQUEST: u32 = 4;
const UNUSABLE: u32 = 8;
static STATE: AtomicU32 = AtomicU32::new(0);

/// The emulator that this program is to use.
pub struct Emulator {
    /// Path of its socket.
    pub path: &'static [u8],
    /// What it wants to hear.
    pub token: &'static [u8],
}

/// How a variable's value reads.
enum Variable<'a> {
    Socket(&'a [u8]),
    Disable(&'a [u8]),
    Log(&'a [u8]),
    Settle(&'a [u8]),
}

fn variable(entry: &[u8]) -> Option<Variable<'_>> {
    let rest = entry.strip_prefix(b"UINOTIFY_")?;
    let split = rest.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (rest.get(..split)?, rest.get(split + 1..)?);
    Some(match name {
        b"SOCKET" => Variable::Socket(value),
        b"DISABLE" => Variable::Disable(value),
        b"LOG" => Variable::Log(value),
        b"SETTLE" => Variable::Settle(value),
        _ => return None,
    })
}

fn copy(from: &[u8], to: &mut [u8]) -> Option<usize> {
    let room = to.get_mut(..from.len())?;
    for (to, from) in room.iter_mut().zip(from) {
        *to = *from;
    }
    Some(from.len())
}

fn hex(digits: &[u8], bytes: &mut [u8; TOKEN_BYTES]) -> Option<usize> {
    if digits.len() != 2 * TOKEN_BYTES {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let mut value = 0;
        for &digit in pair {
            value = value * 16 + char::from(digit).to_digit(16)?;
        }
        *byte = value as u8;
    }
    Some(TOKEN_BYTES)
}

impl Settings {
    /// A path that is too long is no log at all.
    fn set_log(&mut self, value: &[u8]) {
        if copy(value, &mut self.log[..LOG_BYTES_MAX - 1]).is_none() {
            self.log[0] = 0;
        }
    }

    fn set_socket(&mut self, value: &[u8]) -> Option<()> {
        const SEPARATOR: &[u8] = b"?token=";
        let split = value.windows(SEPARATOR.len()).rposition(|window| window == SEPARATOR);
        let (path, token) = match split {
            Some(at) => (value.get(..at)?, value.get(at + SEPARATOR.len()..)),
            None => (value, None),
        };
        self.socket_length = copy(path, &mut self.socket)?;
        if let Some(token) = token {
            self.token_length = hex(token, &mut self.token)?;
        }
        Some(())
    }
}

/// Reads the environment. To be called once, by the constructor.
pub fn initialise<'a>(environment: impl Iterator<Item = &'a [u8]>) {
    // SAFETY: the constructor runs once and before anybody reads; STATE is published at the end.
    let settings = unsafe { &mut *SETTINGS.0.get() };
    let (mut state, mut disabled) = (READ, false);
    for entry in environment {
        match variable(entry) {
            Some(Variable::Socket(value)) if !value.is_empty() => {
                state |= EMULATED;
                if settings.set_socket(value).is_none() {
                    state |= UNUSABLE;
                }
            }
            Some(Variable::Disable(value)) => disabled = !value.is_empty() && value != b"0",
            Some(Variable::Log(value)) => settings.set_log(value),
            Some(Variable::Settle(value)) if value == b"request" => state |= SETTLE_BY_REQUEST,
            _ => {}
        }
    }
    STATE.store(if disabled { 0 } else { state }, Ordering::Release);
}

/// Is the shim to do anything at all? Not before the constructor, and not under `UINOTIFY_DISABLE=1`.
pub fn is_active() -> bool {
    STATE.load(Ordering::Acquire) & READ != 0
}

/// Must every settling go through a request (`UINOTIFY_SETTLE=request`)? Then the shim holds no descriptor of its own.
pub fn settles_by_request() -> bool {
    STATE.load(Ordering::Relaxed) & SETTLE_BY_REQUEST != 0
}

/// Is this program to be emulated? Then `Some`, and `Some(None)` if `UINOTIFY_SOCKET` cannot be understood.
pub fn emulator() -> Option<Option<Emulator>> {
    let state = STATE.load(Ordering::Acquire);
    if state & EMULATED == 0 {
        return None;
    }
    // SAFETY: the constructor has finished writing, as STATE shows.
    let settings = unsafe { &*SETTINGS.0.get() };
    if state & UNUSABLE != 0 {
        return Some(None);
    }
    let path = settings.socket.get(..settings.socket_length);
    let token = settings.token.get(..settings.token_length);
    Some(path.zip(token).map(|(path, token)| Emulator { path, token }))
}

/// Where the log goes (`UINOTIFY_LOG`): a path, zero-terminated, or "stderr"; empty if there is none.
pub fn log() -> &'static [u8] {
    if STATE.load(Ordering::Acquire) & READ == 0 {
        return &[];
    }
    // SAFETY: the constructor has finished writing, as STATE shows.
    let settings = unsafe { &*SETTINGS.0.get() };
    let end = settings.log.iter().position(|&byte| byte == 0).unwrap_or(0);
    settings.log.get(..=end).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            socket: [0; PATH_BYTES_MAX],
            socket_length: 0,
            token: [0; TOKEN_BYTES],
            token_length: 0,
            log: [0; LOG_BYTES_MAX],
        }
    }

    #[test]
    fn a_socket_is_a_path_and_a_token() {
        let mut with_token = settings();
        assert!(with_token.set_socket(b"/run/x.sock?token=000102030405060708090a0b0c0d0eFF").is_some());
        assert_eq!(&with_token.socket[..with_token.socket_length], b"/run/x.sock");
        assert_eq!(with_token.token, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(with_token.token_length, TOKEN_BYTES);

        let mut bare = settings();
        assert!(bare.set_socket(b"/run/x.sock").is_some());
        assert_eq!(bare.token_length, 0);
    }

    #[test]
    fn a_socket_that_cannot_be_meant_is_refused() {
        assert!(settings().set_socket(&[b'x'; PATH_BYTES_MAX + 1]).is_none());
        assert!(settings().set_socket(b"/run/x.sock?token=12").is_none());
        assert!(settings().set_socket(b"/run/x.sock?token=zz0102030405060708090a0b0c0d0e0f").is_none());
    }

    #[test]
    fn only_our_variables_are_read() {
        assert!(variable(b"PATH=/bin").is_none());
        assert!(variable(b"UINOTIFY_SOCKET").is_none());
        assert!(variable(b"UINOTIFY_SOCKETS=1").is_none());
        assert!(matches!(variable(b"UINOTIFY_SOCKET=a=b"), Some(Variable::Socket(b"a=b"))));
    }
}
