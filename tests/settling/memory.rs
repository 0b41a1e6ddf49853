//! What reading writes: not one byte past what it returns, and only the kernel touches a bad page.

use std::fs;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

use crate::call::{self, Way};
use crate::threads::SetAtEnd;

const PAGE: usize = 4096;
const PAINT: u8 = 0xa5;

/// Two readable pages between two that are not.
struct Guarded(*mut u8);

impl Guarded {
    const LENGTH: usize = 2 * PAGE;

    fn new() -> Self {
        // SAFETY: a new mapping where the kernel chooses overlaps nothing.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::LENGTH + 2 * PAGE,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED, "mmap");
        let middle = start.wrapping_byte_add(PAGE);
        // SAFETY: the pages are of the mapping that was made just now.
        let result = unsafe { libc::mprotect(middle, Self::LENGTH, libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(result, 0, "mprotect");
        Self(middle.cast())
    }

    fn paint(&self) {
        // SAFETY: the two pages are writable, and nobody has a reference to them.
        unsafe { self.0.write_bytes(PAINT, Self::LENGTH) };
    }

    /// A copy of the two pages.
    fn bytes(&self) -> Vec<u8> {
        // SAFETY: the two pages are readable, and the reference ends with the copy.
        unsafe { std::slice::from_raw_parts(self.0, Self::LENGTH) }.to_vec()
    }

    /// The address `offset` bytes into the two pages, or outside.
    fn at(&self, offset: isize) -> *mut u8 {
        self.0.wrapping_offset(offset)
    }
}

fn read(way: Way, fd: RawFd, start: *mut u8, room: usize) -> Result<usize, Errno> {
    let result = match way {
        // SAFETY: only the kernel writes there, and checks the address.
        Way::Libc => unsafe { libc::read(fd, start.cast(), room) as i64 },
        // SAFETY: only the kernel writes there, and checks the address.
        Way::Raw => unsafe { uinotify_harness::raw_syscall!(libc::SYS_read, fd, start, room) },
    };
    Errno::result(result).map(|length| length as usize)
}

/// The same on both, each in its own memory.
struct Pair {
    emulated: std::os::fd::OwnedFd,
    kernel: std::os::fd::OwnedFd,
    emulated_memory: Guarded,
    kernel_memory: Guarded,
}

impl Pair {
    fn new(folder: &Path) -> Result<Self> {
        let pair = Self {
            emulated: call::init(Way::Libc, libc::IN_NONBLOCK)?,
            kernel: call::init(Way::Raw, libc::IN_NONBLOCK)?,
            emulated_memory: Guarded::new(),
            kernel_memory: Guarded::new(),
        };
        call::add_watch(Way::Libc, pair.emulated.as_raw_fd(), folder, libc::IN_CREATE)?;
        call::add_watch(Way::Raw, pair.kernel.as_raw_fd(), folder, libc::IN_CREATE)?;
        Ok(pair)
    }

    /// Reads both to the same place; what they give and what they have written must be equal, and nothing else be written.
    fn read(&self, offset: isize, room: usize) -> Result<Result<usize, Errno>> {
        self.emulated_memory.paint();
        self.kernel_memory.paint();
        let emulated = read(Way::Libc, self.emulated.as_raw_fd(), self.emulated_memory.at(offset), room);
        let kernel = read(Way::Raw, self.kernel.as_raw_fd(), self.kernel_memory.at(offset), room);
        ensure!(emulated == kernel, "read({room}) at {offset}: emulated {emulated:?}, kernel {kernel:?}");
        let written = self.emulated_memory.bytes();
        if let Ok(length) = emulated {
            ensure!(written == self.kernel_memory.bytes(), "read({room}) at {offset} gives other bytes");
            let (start, end) = (usize::try_from(offset)?, usize::try_from(offset)? + length);
            let untouched = |bytes: &[u8]| bytes.iter().all(|&byte| byte == PAINT);
            ensure!(untouched(&written[..start]), "read({room}) at {offset} has written in front of the buffer");
            ensure!(untouched(&written[end..]), "read({room}) at {offset} has written behind byte {length}");
        }
        Ok(emulated)
    }

    /// Both hold the same number of bytes.
    fn agree(&self) -> Result<usize> {
        let emulated = call::queued_bytes(Way::Libc, self.emulated.as_raw_fd())?;
        let kernel = call::queued_bytes(Way::Raw, self.kernel.as_raw_fd())?;
        ensure!(emulated == kernel, "{emulated} bytes are left, and {kernel} of the kernel's");
        Ok(kernel)
    }
}

/// Puts `lengths.len()` events there, with names of these lengths.
fn make(folder: &Path, lengths: &[usize]) -> Result<()> {
    for (index, length) in lengths.iter().enumerate() {
        let path = folder.join(format!("{index:0length$}"));
        fs::write(&path, "")?;
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// READ-1 to READ-8 with every size of the buffer around an event's, and every way in which it can lie across the last good page.
pub(crate) fn buffers(folder: &Path) -> Result<()> {
    let pair = Pair::new(folder)?;
    let lengths = [1, 15, 16, 40, 200, 240, 1];
    for is_settled in [false, true] {
        for room in (0..600).step_by(8).chain([15, 17, 31, 33, 47, 63, 65, 255, 257, 271, 272, 273, 287]) {
            make(folder, &lengths)?;
            if is_settled {
                pair.agree()?;
            }
            // The buffer ends with the last good byte.
            let offset = isize::try_from(Guarded::LENGTH - room)?;
            let first = pair.read(offset, room)?;
            ensure!(first.is_ok() || first == Err(Errno::EINVAL), "{first:?}");
            pair.agree()?;
            while pair.agree()? > 0 {
                let _ = pair.read(0, Guarded::LENGTH)?;
            }
        }
    }
    ensure!(pair.read(0, 0)? == Err(Errno::EAGAIN), "an empty queue");
    ensure!(pair.read(-1, 4096)? == Err(Errno::EAGAIN), "an empty queue and a bad buffer");
    Ok(())
}

/// READ-5, READ-6: EFAULT, and the events up to the one that met the bad page are consumed.
pub(crate) fn bad_pages(folder: &Path) -> Result<()> {
    let pair = Pair::new(folder)?;
    let lengths = [1, 1, 20, 1];
    let end = isize::try_from(Guarded::LENGTH)?;
    for is_settled in [false, true] {
        for good in [0, 1, 8, 15, 16, 20, 31, 32, 40, 48, 63, 64, 65, 80, 100, 111, 112, 113, 127, 128] {
            make(folder, &lengths)?;
            if is_settled {
                pair.agree()?;
            }
            for room in [65536, 300, 200, 100] {
                let result = pair.read(end - good, room)?;
                pair.agree().with_context(|| {
                    format!("after read({room}) with {good} good bytes, {result:?}, settled {is_settled}")
                })?;
            }
            while pair.agree()? > 0 {
                let _ = pair.read(0, Guarded::LENGTH)?;
            }
        }
    }
    for address in [0_isize, -1, -4096, isize::MIN, 1 << 60, -1, -4096] {
        make(folder, &[1])?;
        let start = std::ptr::null_mut::<u8>().wrapping_offset(address);
        for (way, fd) in [(Way::Libc, &pair.emulated), (Way::Raw, &pair.kernel)] {
            let result = read(way, fd.as_raw_fd(), start, 100);
            ensure!(result == Err(Errno::EFAULT), "{way:?} at {start:?}: {result:?}");
        }
        // SAFETY: the kernel checks the address.
        let counted = unsafe { libc::ioctl(pair.emulated.as_raw_fd(), libc::FIONREAD, start.cast::<i32>()) };
        ensure!(Errno::result(counted) == Err(Errno::EFAULT), "FIONREAD to {start:?}: {counted}");
        // An address that no program can have is refused before the queue is looked at.
        pair.agree().with_context(|| format!("after a read to {start:?}"))?;
        while pair.agree()? > 0 {
            let _ = pair.read(0, Guarded::LENGTH)?;
        }
    }
    // SAFETY: the kernel checks the address.
    let result =
        Errno::result(unsafe { libc::ioctl(pair.emulated.as_raw_fd(), libc::FIONREAD, std::ptr::null_mut::<i32>()) });
    ensure!(result == Err(Errno::EFAULT), "FIONREAD to nowhere: {result:?}");
    Ok(())
}

/// READ-5, READ-6 with events that come with the reply of the emulator: the queue is far longer than the window, and its events so
/// small that the window ends before the good page does. With `other` a thread asks the emulator meanwhile.
pub(crate) fn bad_pages_behind_the_window(folder: &Path, other: bool) -> Result<()> {
    const WRITES: usize = 700;
    let pair = Pair::new(folder)?;
    let path = folder.join("written");
    fs::write(&path, "")?;
    while pair.agree()? > 0 {
        pair.read(0, Guarded::LENGTH)??;
    }
    let kinds = libc::IN_OPEN | libc::IN_MODIFY | libc::IN_CLOSE_WRITE;
    call::add_watch(Way::Libc, pair.emulated.as_raw_fd(), &path, kinds)?;
    call::add_watch(Way::Raw, pair.kernel.as_raw_fd(), &path, kinds)?;
    let end = isize::try_from(Guarded::LENGTH)?;
    for good in [PAGE, PAGE - 8, PAGE - 16, PAGE - 100, 2 * PAGE - 1] {
        for number in 0..WRITES {
            fs::write(&path, [b'x'; 2][..number % 2 + 1].as_ref())?;
        }
        let queued = pair.agree()?;
        ensure!(queued > 2 * Guarded::LENGTH, "the queue is longer than what is read: {queued}");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| -> Result<()> {
            let _end = SetAtEnd(&is_over);
            if other {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        let removed = call::remove_watch(pair.emulated.as_raw_fd(), 77);
                        assert_eq!(removed, Err(Errno::EINVAL), "an unknown wd");
                    }
                });
            }
            for round in 0_usize.. {
                let context = || format!("round {round} with {good} good bytes");
                // The window as it was filled, or a part of it gone.
                if round % 2 == 1 {
                    let _ = pair.read(0, 16 * round).with_context(context)?;
                }
                let result = pair.read(end - isize::try_from(good)?, 1 << 20).with_context(context)?;
                let left = pair.agree().with_context(context)?;
                if left == 0 {
                    ensure!(result.is_ok() || result == Err(Errno::EFAULT), "{result:?}");
                    return Ok(());
                }
                ensure!(result == Err(Errno::EFAULT), "{result:?} in {}", context());
            }
            Ok(())
        })?;
    }
    Ok(())
}
