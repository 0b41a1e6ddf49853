//! Where an emulator is, as `UINOTIFY_SOCKET` says it: a path, and `?token=` with what the emulator wants to hear.

use uinotify_wire::TOKEN_BYTES;

/// The longest `sun_path`, which leaves room for the zero byte.
const PATH_BYTES_MAX: usize = 107;

/// The longest address.
pub const ADDRESS_BYTES_MAX: usize = PATH_BYTES_MAX + SEPARATOR.len() + 2 * TOKEN_BYTES;

const SEPARATOR: &[u8] = b"?token=";

/// The address of an emulator.
#[derive(Clone, Copy)]
pub struct Address {
    path: [u8; PATH_BYTES_MAX],
    path_length: usize,
    token: [u8; TOKEN_BYTES],
    token_length: usize,
}

/// Copies bytes to the front of a larger room.
pub fn copy(from: &[u8], to: &mut [u8]) -> Option<usize> {
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

impl Address {
    /// None yet.
    pub const EMPTY: Self =
        Self { path: [0; PATH_BYTES_MAX], path_length: 0, token: [0; TOKEN_BYTES], token_length: 0 };

    /// Reads an address. `None` for a path that no socket can have, or a token that is none.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut address = Self::EMPTY;
        let split = value.windows(SEPARATOR.len()).rposition(|window| window == SEPARATOR);
        let (path, token) = match split {
            Some(at) => (value.get(..at)?, value.get(at + SEPARATOR.len()..)),
            None => (value, None),
        };
        address.path_length = copy(path, &mut address.path)?;
        if let Some(token) = token {
            address.token_length = hex(token, &mut address.token)?;
        }
        Some(address)
    }

    /// Path of the socket.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.path.get(..self.path_length).unwrap_or(&[])
    }

    /// What the emulator wants to hear; empty if nothing.
    #[must_use]
    pub fn token(&self) -> &[u8] {
        self.token.get(..self.token_length).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_a_path_and_a_token() {
        let with_token = Address::parse(b"/run/x.sock?token=000102030405060708090a0b0c0d0eFF").expect("an address");
        assert_eq!(with_token.path(), b"/run/x.sock");
        assert_eq!(with_token.token(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);

        let bare = Address::parse(b"/run/x.sock").expect("an address");
        assert_eq!((bare.path(), bare.token()), (&b"/run/x.sock"[..], &b""[..]));
        let longest = [b'x'; PATH_BYTES_MAX];
        assert_eq!(Address::parse(&longest).expect("an address").path(), longest);
    }

    #[test]
    fn a_socket_that_cannot_be_meant_is_refused() {
        assert!(Address::parse(&[b'x'; PATH_BYTES_MAX + 1]).is_none());
        assert!(Address::parse(b"/run/x.sock?token=12").is_none());
        assert!(Address::parse(b"/run/x.sock?token=zz0102030405060708090a0b0c0d0e0f").is_none());
    }
}
