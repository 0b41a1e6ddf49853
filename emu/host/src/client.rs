//! An instance, opened and used as a program behind the shim does it: for whoever rebuilds one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socketpair};
use uinotify_images::Checkpoint;
use uinotify_wire::{
    EVENT_BYTES_MAX, PLUG, REBUILDS, REPLY_BYTES, REPLY_EVENTS_BYTES_MAX, Reply, Request, RequestKind,
};

use crate::fdinfo::{EmulatorAddress, misunderstood, receive_reply};
use crate::frame;

/// How much of a checkpoint goes with one request.
const PIECE_BYTES: usize = 4096;

/// An instance and its control connection.
#[derive(Debug)]
pub struct Client {
    descriptor: OwnedFd,
    control: OwnedFd,
}

impl Client {
    /// Opens an instance: `inotify_init1`. The descriptor is close-on-exec.
    ///
    /// # Errors
    ///
    /// ECONNREFUSED if nobody listens there; those of `inotify_init1`.
    pub fn open(emulator: &EmulatorAddress<'_>, nonblocking: bool) -> io::Result<Self> {
        let control = emulator.connect()?;
        let flags = if nonblocking { libc::IN_NONBLOCK } else { 0 };
        let request = Request { kind: RequestKind::Init, argument: flags as u64, word: 0, payload: emulator.token };
        frame::send(control.as_fd(), [&request.header(), request.payload], &[])?;
        let (_, descriptor) = receive_reply(control.as_fd())?;
        Ok(Self { descriptor: descriptor.ok_or_else(misunderstood)?, control })
    }

    /// An instance that is open already.
    ///
    /// # Errors
    ///
    /// If its emulator has ended, or has too many connections of this instance.
    pub fn attach(descriptor: OwnedFd) -> io::Result<Self> {
        let (control, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let request = Request::new(RequestKind::Attach, 0, 0);
        frame::send(descriptor.as_fd(), [&request.header(), &[]], &[theirs.as_fd()])?;
        drop(theirs);
        // As the shim does: what stays unread keeps the kernel from calling the descriptor writable. Without room it is full enough.
        let _ = frame::send(descriptor.as_fd(), [&PLUG, &[]], &[]);
        // With the source's descriptor and the page, or without: they are not for us.
        let mut bytes = [0; REPLY_BYTES];
        recv(control.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
        Ok(Self { descriptor, control })
    }

    fn ask(&self, request: &Request<'_>, descriptors: &[BorrowedFd<'_>]) -> io::Result<i32> {
        frame::send(self.control.as_fd(), [&request.header(), request.payload], descriptors)?;
        receive_reply(self.control.as_fd()).map(|(reply, _)| reply.value)
    }

    /// `inotify_add_watch` for an object that is open with `O_PATH`, by a `path` that is noted. The new watch descriptor.
    ///
    /// # Errors
    ///
    /// Those of `inotify_add_watch`.
    pub fn add_watch(&self, object: BorrowedFd<'_>, path: &[u8], mask: u32) -> io::Result<i32> {
        let request = Request { kind: RequestKind::AddWatch, argument: 0, word: mask, payload: path };
        self.ask(&request, &[object])
    }

    /// `inotify_rm_watch`.
    ///
    /// # Errors
    ///
    /// EINVAL for a number that is none of a watch.
    pub fn remove_watch(&self, wd: i32) -> io::Result<()> {
        self.ask(&Request::new(RequestKind::RemoveWatch, 0, wd.cast_unsigned()), &[]).map(drop)
    }

    /// `INOTIFY_IOC_SETNEXTWD`.
    ///
    /// # Errors
    ///
    /// EINVAL for 0 and below; ENOTTY where the emulator shows a kernel without it.
    pub fn set_cursor(&self, wd: i32) -> io::Result<()> {
        self.ask_for_cursor(wd, 0)
    }

    /// Sets the cursor also where the emulator shows a kernel without `INOTIFY_IOC_SETNEXTWD`.
    ///
    /// # Errors
    ///
    /// EINVAL for 0 and below.
    pub fn place_cursor(&self, wd: i32) -> io::Result<()> {
        self.ask_for_cursor(wd, REBUILDS)
    }

    fn ask_for_cursor(&self, wd: i32, purpose: u32) -> io::Result<()> {
        let argument = u64::from(wd.cast_unsigned());
        self.ask(&Request::new(RequestKind::SetCursor, argument, purpose), &[]).map(drop)
    }

    /// `UINOTIFY_IOC_GETNEXTWD`.
    ///
    /// # Errors
    ///
    /// If the emulator has ended.
    pub fn cursor(&self) -> io::Result<i32> {
        self.ask(&Request::new(RequestKind::GetCursor, 0, 0), &[])
    }

    /// `FIONREAD`: the bytes of all events that have happened and were not read.
    ///
    /// # Errors
    ///
    /// If the emulator has ended.
    pub fn count(&self) -> io::Result<i32> {
        self.ask(&Request::new(RequestKind::Count, 0, 0), &[])
    }

    /// Reads all events, and forgets them.
    ///
    /// # Errors
    ///
    /// If the emulator has ended.
    pub fn drain(&self) -> io::Result<()> {
        let mut bytes = vec![0; REPLY_BYTES + REPLY_EVENTS_BYTES_MAX];
        loop {
            let request = Request::new(RequestKind::Settle, REPLY_EVENTS_BYTES_MAX as u64, 0);
            frame::send(self.control.as_fd(), [&request.header(), &[]], &[])?;
            let length = recv(self.control.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
            let reply = bytes.first_chunk().filter(|_| length >= REPLY_BYTES).and_then(Reply::parse);
            let reply = reply.ok_or_else(misunderstood)?;
            let mut event = [0; EVENT_BYTES_MAX];
            let flags = MsgFlags::MSG_DONTWAIT;
            let mut in_window = 0;
            while recv(self.descriptor.as_raw_fd(), &mut event, flags).is_ok_and(|length| length > 0) {
                in_window += 1;
            }
            if reply.extent == 0 && in_window == 0 {
                return Ok(());
            }
        }
    }

    /// Gives the instance what is in the one instance of a checkpoint and no call can give. Its watches have to be those of the
    /// checkpoint. The number of the instance in the emulator.
    ///
    /// # Errors
    ///
    /// EINVAL if no instance can be in this state, or it has a watch that the checkpoint lacks: it stays as it was then.
    pub fn restore(&self, emulator: &EmulatorAddress<'_>, checkpoint: &Checkpoint) -> io::Result<u64> {
        restore(emulator, checkpoint, Some(self.descriptor.as_fd()), 0)
    }

    /// The program's descriptor alone.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.descriptor
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// [`Client::restore`] for an instance that another program has, known by its descriptor, or else by the inode of that.
///
/// # Errors
///
/// As for [`Client::restore`]; ENOENT if the emulator has no such instance, EPERM if it is another user's.
pub fn restore(
    emulator: &EmulatorAddress<'_>,
    checkpoint: &Checkpoint,
    descriptor: Option<BorrowedFd<'_>>,
    inode: u64,
) -> io::Result<u64> {
    let connection = emulator.connect()?;
    let text = checkpoint.to_json();
    let mut pieces = text.as_bytes().chunks(PIECE_BYTES).peekable();
    let mut number = 0;
    while let Some(payload) = pieces.next() {
        let is_last = pieces.peek().is_none();
        let request = Request { kind: RequestKind::Restore, argument: inode, word: u32::from(is_last), payload };
        let attached = descriptor.filter(|_| is_last);
        frame::send(connection.as_fd(), [&request.header(), payload], attached.as_slice())?;
        (Reply { value: number, .. }, _) = receive_reply(connection.as_fd())?;
    }
    Ok(u64::from(number.unsigned_abs()))
}
