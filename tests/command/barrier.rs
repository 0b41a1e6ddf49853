//! `uinotify barrier`, and the control protocol that it speaks, as docs/protocol.md has it.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket};
use serde_json::{Value, json};

use crate::room::{Outcome, Room, Running, helper_command};

pub(super) fn what_has_happened_is_in_the_queue() -> Outcome {
    let room = Room::new();
    let watched = room.path("watched");
    fs::create_dir(&watched)?;
    let command = helper_command(&["hold", watched.to_str().ok_or("a UTF-8 path")?]);
    let mut command = room.uinotify(&[&["run", "--"], &command[..]].concat());
    let mut running = Running::start(command.stdin(Stdio::piped()));
    assert_eq!(running.line(), "ready");
    let queued = || -> Result<Value, Box<dyn std::error::Error>> {
        let json = room.end(&mut room.uinotify(&["ps", "--json", "--socket", socket_of(&room).as_str()])).stdout;
        Ok(serde_json::from_str::<Value>(&json)?[0]["groups"][0]["queue_events"].clone())
    };
    for count in 1..=20 {
        fs::write(watched.join(count.to_string()), "")?;
        let ended = room.end(&mut room.uinotify(&["barrier", "--socket", &socket_of(&room)]));
        assert_eq!((ended.status, &*ended.stderr, &*ended.stdout), (Some(0), "", ""));
        assert_eq!(queued()?, count);
    }
    // All emulators of this user, of which others than this one may be of another version, or end meanwhile.
    fs::write(watched.join("21"), "")?;
    room.end(&mut room.uinotify(&["barrier"]));
    assert_eq!(queued()?, 21);
    // By the variable of a program that runs there.
    let ended = room.end(room.uinotify(&["barrier"]).env("UINOTIFY_SOCKET", socket_of(&room)));
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
    running.tell("go");
    assert!(running.line().starts_with("wd 1 "));
    assert_eq!(running.child.wait()?.code(), Some(0));
    Ok(())
}

fn socket_of(room: &Room) -> String {
    let sockets = room.sockets();
    sockets[0].to_str().expect("a UTF-8 path").to_owned()
}

pub(super) fn without_an_emulator_it_fails() -> Outcome {
    let room = Room::new();
    let ended = room.end(&mut room.uinotify(&["barrier", "--socket", "/nonexistent/socket"]));
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.contains("/nonexistent/socket"), "{}", ended.stderr);
    let ended = room.end(room.uinotify(&["barrier"]).env("UINOTIFY_SOCKET", "/nonexistent/socket?token=00"));
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.contains("/nonexistent/socket"), "{}", ended.stderr);
    Ok(())
}

/// A connection by the description alone: nothing of the project's own is used.
struct Raw(OwnedFd);

impl Raw {
    fn connect(path: &Path) -> Result<Self, nix::errno::Errno> {
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        let raw = Self(socket);
        let mut request = [0; 24];
        request[..4].copy_from_slice(b"uino");
        (request[4], request[5]) = (1, 16);
        raw.send(&request);
        let answer = raw.receive();
        let word = |at: usize| u32::from_ne_bytes(answer[at..at + 4].try_into().expect("four bytes"));
        assert_eq!((answer.len(), &answer[..5], word(8), word(12)), (24, &b"uino\x01"[..], 0, 1));
        Ok(raw)
    }

    fn send(&self, bytes: &[u8]) {
        assert_eq!(send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL), Ok(bytes.len()));
    }

    fn receive(&self) -> Vec<u8> {
        let mut packet = vec![0; 32768];
        // An answer that was refused may be followed by a reset.
        let length = recv(self.0.as_raw_fd(), &mut packet, MsgFlags::empty()).unwrap_or(0);
        packet.truncate(length);
        packet
    }

    fn answer(&self) -> Value {
        let line = self.receive();
        assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1), "one line");
        serde_json::from_slice(&line).expect("JSON")
    }
}

pub(super) fn the_protocol_is_as_described() -> Outcome {
    let room = Room::new();
    let path = room.path("server.sock");
    let path_text = path.to_str().ok_or("a UTF-8 path")?;
    let mut command = room.uinotify(&["serve", "--socket", path_text, "--ready-fd", "1"]);
    let mut server = Running::start(&mut command);
    server.line();
    let errno = |answer: &Value| answer["error"]["errno"].as_str().map(str::to_owned);

    let raw = Raw::connect(&path)?;
    raw.send(b"{\"v\":1,\"id\":7,\"do\":\"barrier\"}\n");
    assert_eq!(raw.answer(), json!({"id": 7, "ok": {}}));
    // Parts of lines, and several in one packet.
    raw.send(b"{\"v\":1,\"id\":18446744073709551615,");
    raw.send(b"\"do\":\"barrier\"");
    raw.send(b"}\n\n{\"v\":1,\"id\":0,\"do\":\"barrier\"}\n{");
    assert_eq!(raw.answer(), json!({"id": u64::MAX, "ok": {}}));
    assert_eq!(raw.answer(), json!({"id": 0, "ok": {}}));
    raw.send(b"\"v\":1,\"id\":8,\"do\":\"jump\"}\n");
    let answer = raw.answer();
    assert_eq!((errno(&answer).as_deref(), &answer["id"]), (Some("EOPNOTSUPP"), &json!(8)));
    assert!(answer["error"]["message"].as_str().is_some_and(|message| message.contains("jump")));
    for (line, expected) in [
        (&b"hello\n"[..], "EBADMSG"),
        (b"\xff\n", "EBADMSG"),
        (b"{\"v\":3,\"id\":8,\"do\":\"barrier\"}\n", "EPROTONOSUPPORT"),
        (b"{\"v\":1,\"id\":8,\"do\":\"barrier\",\"x\":1}\n", "EINVAL"),
    ] {
        raw.send(line);
        assert_eq!(errno(&raw.answer()).as_deref(), Some(expected));
    }
    // It goes on all the same, until something is too long.
    raw.send(b"{\"v\":1,\"id\":9,\"do\":\"barrier\"}\n");
    assert_eq!(raw.answer(), json!({"id": 9, "ok": {}}));
    raw.send(&[b' '; 4097]);
    assert_eq!(errno(&raw.answer()).as_deref(), Some("EMSGSIZE"));
    assert!(raw.receive().is_empty(), "the connection ends");
    let raw = Raw::connect(&path)?;
    for _ in 0..=256 {
        raw.send(&[b' '; 4096]);
    }
    assert_eq!(errno(&raw.answer()).as_deref(), Some("EMSGSIZE"));

    nix::sys::signal::kill(server.pid(), nix::sys::signal::Signal::SIGTERM)?;
    server.child.wait()?;
    Ok(())
}
