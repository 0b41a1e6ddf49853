//! Through libc's streams and its asynchronous I/O, which call the system by themselves.

use std::ffi::CString;

use nix::errno::Errno;

use crate::argument::Other;
use crate::row::Table;
use crate::state::State;
use crate::symbol::Function;
use crate::table::said;

pub(crate) fn add(table: &mut Table) {
    table.steps("fdopen r, fread, fclose", |state| through_stream(state, c"r"));
    table.steps("fdopen w", |state| through_stream(state, c"w"));
    table.steps("fdopen r+", |state| through_stream(state, c"r+"));
    table.steps_on_empty("fdopen r, fread, fclose", |state| through_stream(state, c"r"));
    table.steps("fdopen, then fseek, ftell and fputc", |state| {
        let other = state.other(Other::Duplicate);
        // SAFETY: takes a number only.
        let fd = unsafe { libc::dup(other) };
        // SAFETY: the mode is a string.
        let stream = unsafe { libc::fdopen(fd, c"r".as_ptr()) };
        if stream.is_null() {
            return said(-1);
        }
        // SAFETY: the stream is open.
        let sought = said(unsafe { libc::fseek(stream, 0, libc::SEEK_SET) });
        // SAFETY: the stream is open.
        let told = unsafe { libc::ftell(stream) };
        // SAFETY: the stream is open.
        let put = said(unsafe { libc::fputc(7, stream) });
        // SAFETY: the stream is open, and not used after this.
        let closed = said(unsafe { libc::fclose(stream) });
        format!("{sought} {told} {put} {closed}")
    });
    table.steps("aio_read", |state| asynchronous(state, "aio_read"));
    table.steps("aio_write", |state| asynchronous(state, "aio_write"));
    table.steps("aio_fsync", |state| {
        let mut control = block(state, &mut [0; 64]);
        // SAFETY: the block lives until the request has ended, which `ended` waits for.
        let queued = said(unsafe { libc::aio_fsync(libc::O_SYNC, &raw mut control) });
        format!("{queued} {}", ended(&mut control))
    });
    table.steps("posix_spawn with the descriptor as standard input", spawned);
}

fn through_stream(state: &mut State, mode: &std::ffi::CStr) -> String {
    // Libc's streams read past the shim, where nothing waits for what has happened to arrive.
    state.settle();
    let other = state.other(Other::Duplicate);
    // SAFETY: takes a number only.
    let fd = unsafe { libc::dup(other) };
    // SAFETY: the mode is a string.
    let stream = unsafe { libc::fdopen(fd, mode.as_ptr()) };
    if stream.is_null() {
        let said = said(-1);
        // SAFETY: the descriptor is ours.
        unsafe { libc::close(fd) };
        return said;
    }
    let mut buffer = [0_u8; 64];
    // SAFETY: the stream is open; the buffer lives through the call.
    let length = unsafe { libc::fread(buffer.as_mut_ptr().cast(), 1, 48, stream) };
    let errno = Errno::last();
    // SAFETY: the stream is open.
    let is_error = unsafe { libc::ferror(stream) };
    // SAFETY: the stream is open, and not used after this.
    let closed = said(unsafe { libc::fclose(stream) });
    let events = crate::instance::events(&buffer[..length]);
    let errno = if is_error == 0 { String::new() } else { format!("{errno:?}") };
    format!("{length} {is_error} {errno} [{events}] {closed}")
}

fn block(state: &State, buffer: &mut [u8; 64]) -> libc::aiocb {
    // Libc's threads read past the shim.
    state.settle();
    // SAFETY: the structure is integers and pointers, of which all zeroes is a value.
    let mut control: libc::aiocb = unsafe { std::mem::zeroed() };
    control.aio_fildes = state.fd();
    control.aio_buf = buffer.as_mut_ptr().cast();
    control.aio_nbytes = buffer.len();
    control.aio_sigevent.sigev_notify = libc::SIGEV_NONE;
    control
}

fn asynchronous(state: &State, name: &str) -> String {
    let mut buffer = [0_u8; 64];
    let mut control = block(state, &mut buffer);
    let queued = if name == "aio_read" {
        // SAFETY: the block lives until the request has ended, which `ended` waits for.
        unsafe { libc::aio_read(&raw mut control) }
    } else {
        // SAFETY: the block lives until the request has ended, which `ended` waits for.
        unsafe { libc::aio_write(&raw mut control) }
    };
    format!("{} {} [{}]", said(queued), ended(&mut control), crate::instance::events(&buffer))
}

fn ended(control: &mut libc::aiocb) -> String {
    for _ in 0..10_000_000 {
        // SAFETY: the block is that of a request.
        let error = unsafe { libc::aio_error(control) };
        if error != libc::EINPROGRESS {
            // SAFETY: the request has ended.
            let result = unsafe { libc::aio_return(control) };
            let error = if error == 0 { String::new() } else { format!(" {:?}", Errno::from_raw(error)) };
            return format!("{result}{error}");
        }
        std::thread::yield_now();
    }
    panic!("the request does not end");
}

/// What a file gives that was opened by this function.
pub(crate) fn opened(function: &'static str, path: &str) -> String {
    let text = CString::new(path).expect("a path");
    let (path, mode) = (text.as_ptr() as usize, c"r".as_ptr() as usize);
    let here = libc::AT_FDCWD as usize;
    let how = [0_u64; 3];
    // SAFETY: the path and the mode are strings.
    let spare = || unsafe { libc::fopen(c"/dev/null".as_ptr(), c"r".as_ptr()) };
    let arguments = match function {
        "open" | "open64" | "__open" | "__open64" | "__open_2" | "__open64_2" | "SYS_open" => [path, 0, 0, 0, 0, 0],
        "fopen" | "fopen64" => [path, mode, 0, 0, 0, 0],
        "freopen" | "freopen64" => [path, mode, spare() as usize, 0, 0, 0],
        "SYS_openat2" => [here, path, how.as_ptr() as usize, 24, 0, 0],
        _ => [here, path, 0, 0, 0, 0],
    };
    let Some(result) = Function::parse(function).call(arguments) else { return crate::row::MISSING.into() };
    let mut said = Vec::new();
    if function.contains("fopen") || function.starts_with("freopen") {
        if result == 0 {
            return crate::table::said(-1);
        }
        let stream = result as *mut libc::FILE;
        let mut buffer = [0_u8; 4096];
        // SAFETY: the stream is open; the buffer lives through the call.
        let length = unsafe { libc::fread(buffer.as_mut_ptr().cast(), 1, buffer.len(), stream) };
        // SAFETY: the stream is open, and not used after this.
        unsafe { libc::fclose(stream) };
        said.extend_from_slice(&buffer[..length]);
    } else {
        let fd = result as i32;
        if fd < 0 {
            return crate::table::said(-1);
        }
        let mut buffer = [0_u8; 4096];
        while let Ok(length @ 1..) = crate::instance::read(fd, &mut buffer) {
            said.extend_from_slice(&buffer[..length]);
        }
        // SAFETY: the descriptor was opened above.
        unsafe { libc::close(fd) };
    }
    format!("{:?}", String::from_utf8_lossy(&said))
}

/// `cat` reads it, as a program that knows nothing of inotify would.
fn spawned(state: &mut State) -> String {
    use std::os::fd::FromRawFd;
    // SAFETY: takes a number only.
    let fd = unsafe { libc::dup(state.fd()) };
    // SAFETY: the call has just returned this descriptor.
    let input = unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) };
    let output = std::process::Command::new("cat").stdin(input).env("LC_ALL", "C").output().expect("cat");
    format!(
        "{:?} [{}] {:?}",
        output.status.code(),
        crate::instance::events(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
