//! Descriptors that come through a socket.

use std::fs;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

use crate::instance;

/// Room for the control message of four descriptors.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Takes what comes by `recvmsg` or by `recvmmsg` with room for two messages.
fn receive(socket: RawFd, by_many: bool) -> Vec<RawFd> {
    let mut fds = Vec::new();
    let mut bytes = [[0_u8; 8]; 2];
    let mut controls = [Control([0; 64]), Control([0; 64])];
    let mut pieces =
        bytes.each_mut().map(|bytes| libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() });
    // SAFETY: the structure is integers and pointers, of which all zeroes is a value.
    let mut messages: [libc::mmsghdr; 2] = unsafe { std::mem::zeroed() };
    for ((message, piece), control) in messages.iter_mut().zip(&mut pieces).zip(&mut controls) {
        message.msg_hdr.msg_iov = piece;
        message.msg_hdr.msg_iovlen = 1;
        message.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
        message.msg_hdr.msg_controllen = control.0.len() as _;
    }
    let flags = libc::MSG_CMSG_CLOEXEC;
    let count = if by_many {
        // SAFETY: the messages and what they name live through the call.
        unsafe { libc::recvmmsg(socket, messages.as_mut_ptr(), 2, flags as _, std::ptr::null_mut()) }
    } else {
        // SAFETY: the message and what it names live through the call.
        let result = unsafe { libc::recvmsg(socket, &raw mut messages[0].msg_hdr, flags) };
        i32::from(result >= 0)
    };
    assert!(count > 0, "a message comes: {}", nix::errno::Errno::last());
    for message in messages.iter().take(count as usize) {
        // SAFETY: the header is that of a message that was received.
        let mut control = unsafe { libc::CMSG_FIRSTHDR(&raw const message.msg_hdr) };
        while !control.is_null() {
            // SAFETY: the control message lies in the buffer.
            let length = unsafe { (*control).cmsg_len } as usize;
            // SAFETY: as above.
            let data = unsafe { libc::CMSG_DATA(control) };
            let count = (length - (data as usize - control as usize)) / size_of::<RawFd>();
            for index in 0..count {
                // SAFETY: the descriptors lie in the control message.
                fds.push(unsafe { data.cast::<RawFd>().wrapping_add(index).read_unaligned() });
            }
            // SAFETY: the header is that of the message that was received.
            control = unsafe { libc::CMSG_NXTHDR(&raw const message.msg_hdr, control) };
        }
    }
    fds
}

/// A process that knew of no instance gets some, beside ordinary files.
pub(crate) fn received(folder: &Path) {
    for by_many in [false, true] {
        // What one round has learnt about numbers, the other does not know.
        let end = crate::process::in_child(|| {
            round(folder, by_many);
            String::new()
        });
        assert_eq!(end, Ok(String::new()), "by many {by_many}");
    }
}

fn round(folder: &Path, by_many: bool) {
    {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .expect("a pair of sockets");
        let (done, wait) = nix::unistd::pipe().expect("a pipe");
        // SAFETY: this process has one thread.
        match unsafe { fork() }.expect("a process") {
            ForkResult::Child => {
                drop(wait);
                // Both messages are there when the other end of the pipe is closed.
                let _ = nix::unistd::read(&done, &mut [0]);
                let mut fds = receive(theirs.as_raw_fd(), by_many);
                if !by_many {
                    fds.extend(receive(theirs.as_raw_fd(), by_many));
                }
                for (index, fd) in fds.into_iter().enumerate() {
                    let mut buffer = [0_u8; 128];
                    let length = instance::read(fd, &mut buffer).unwrap_or_default();
                    println!("{by_many} {index}: {length} {}", instance::events(&buffer[..length / 16 * 16]));
                    if index % 2 == 0 {
                        let wd = instance::watch(fd, folder, libc::IN_CREATE | libc::IN_DELETE);
                        fs::write(folder.join(format!("received{index}")), "").expect("a file");
                        let mut entry = libc::pollfd { fd, events: libc::POLLIN | libc::POLLOUT, revents: 0 };
                        // SAFETY: the entry lives through the call.
                        let ready = unsafe { libc::poll(&raw mut entry, 1, 0) };
                        println!("{wd} {ready} {} {}", entry.revents, instance::queue(fd));
                        // SAFETY: the byte lives through the call.
                        let written = unsafe { libc::write(fd, buffer.as_ptr().cast(), 1) };
                        println!("{written} {:?}", nix::errno::Errno::last());
                    }
                }
                std::process::exit(0);
            }
            ForkResult::Parent { child } => {
                drop((theirs, done));
                let files = [0, 1].map(|_| fs::File::open("/dev/zero").expect("a file"));
                let instances = [0, 1].map(|_| instance::open(libc::IN_NONBLOCK));
                // Two events each: who does not know the descriptor gets them one by one.
                for instance in &instances {
                    instance::watch(instance.as_raw_fd(), folder, libc::IN_CREATE);
                }
                for name in ["one", "two"] {
                    fs::write(folder.join(name), "").expect("a file");
                }
                for (instance, file) in instances.iter().zip(&files) {
                    let fds = [instance.as_raw_fd(), file.as_raw_fd()];
                    sendmsg::<()>(
                        ours.as_raw_fd(),
                        &[std::io::IoSlice::new(b"x")],
                        &[ControlMessage::ScmRights(&fds)],
                        MsgFlags::empty(),
                        None,
                    )
                    .expect("the message goes");
                }
                drop(wait);
                println!("{:?}", waitpid(child, None).map(|status| format!("{status:?}").contains(", 0)")));
                for instance in instances {
                    println!("{}", instance::queue(instance.as_raw_fd()));
                }
            }
        }
        for entry in fs::read_dir(folder).expect("the folder") {
            fs::remove_file(entry.expect("an entry").path()).expect("the file goes");
        }
    }
}
