//! Filters around filters.

use std::os::fd::AsFd;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use uinotify_intercept::{Filter, Listener, install};

use crate::life::Twice;
use crate::program::Program;
use crate::room::{Outcome, Room, UINOTIFY, end};

/// An inner run cannot listen itself. The outer one passes its program's calls on, and neither emulator gets its source from the other.
pub(super) fn inner_runs_use_their_own_emulator() -> Outcome {
    let room = Room::new();
    let program = Program::MuslStatic.path();
    let program = program.to_str().ok_or("UTF-8")?;
    for (index, (outer, inner)) in
        [("auto", "auto"), ("auto", "seccomp"), ("seccomp", "auto"), ("seccomp", "seccomp"), ("both", "preload")]
            .into_iter()
            .enumerate()
    {
        let folder = room.folder(&index.to_string());
        // No instance is left for the inner emulator, were it to use the outer one.
        let outer = ["--interpose", outer, "--next-wd", "50", "--limit", "instances=0"];
        let command = [UINOTIFY, "run", "--interpose", inner, "--next-wd", "70", "--", program, "twice", &folder];
        let mut twice = Twice::start(&mut room.run(&outer, &command));
        let lines = [twice.line(), twice.go_on()];
        assert!(
            lines.iter().all(|line| line.starts_with("socket:") && line.ends_with(" wd 70")),
            "{lines:?} {}",
            room.stderr()
        );
        assert_eq!(twice.child.wait()?.code(), Some(0));
        let said = room.stderr();
        assert!(inner == "preload" || said.is_empty(), "{said}");
        // All that it does comes to the inner one, and looks like Linux.
        let work =
            |folder: &str| [UINOTIFY, "run", "--interpose", inner, "--", program, "work", folder].map(str::to_owned);
        let (native, emulated) = (room.folder(&format!("native{index}")), room.folder(&format!("work{index}")));
        let native = end(&mut room.command(program, &["work", &native]));
        let command = work(&emulated);
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        let ended = end(&mut room.run(&outer, &command));
        assert_eq!(ended.stdout, native.stdout, "{outer:?} {inner} {}", room.stderr());
    }
    Ok(())
}

/// Linux has one place for a listener, and here somebody else has it.
pub(super) fn another_supervisor_is_told() -> Outcome {
    let room = Room::new();
    let program = Program::MuslStatic.path();
    let folder = room.folder("watched");
    let program = program.to_str().ok_or("UTF-8")?.to_owned();
    // SAFETY: the child uses what it has of its parent's memory alone, and makes no thread but its own.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let outcome = std::panic::catch_unwind(|| under_another_supervisor(&room, &program, &folder));
            if let Err(problem) = &outcome {
                eprintln!("{problem:?}");
            }
            // SAFETY: takes a number.
            unsafe { libc::_exit(i32::from(outcome.is_err())) }
        }
        ForkResult::Parent { child } => {
            let status = waitpid(child, None)?;
            assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
            Ok(())
        }
    }
}

fn under_another_supervisor(room: &Room, program: &str, folder: &str) {
    let is_over = Arc::new(AtomicBool::new(false));
    let (send, receive) = std::sync::mpsc::channel::<Listener>();
    let supervisor = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let listener = receive.recv().expect("a listener");
            while !is_over.load(Ordering::Relaxed) {
                let mut entry = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut entry, PollTimeout::from(10_u8));
                if entry[0].revents().is_some_and(|found| found.contains(PollFlags::POLLIN))
                    && let Ok(Some(notification)) = listener.receive()
                {
                    let _ = listener.let_pass(notification.id);
                }
            }
        }
    });
    let installed = install(&Filter::new(false), false).expect("a filter");
    send.send(Listener::new(installed.listener).expect("a listener")).expect("a supervisor");
    let command = [program, "twice", folder];
    let ended = end(room.run(&[], &command).stdin(Stdio::null()));
    assert!(ended.stdout.starts_with("anon_inode:i"), "{ended:?}");
    assert!(room.stderr().contains("EBUSY"), "{}", room.stderr());
    for way in ["seccomp", "both"] {
        let ended = end(&mut room.run(&["--interpose", way], &command));
        assert_eq!(ended.status, Some(125), "{way}");
        assert!(room.stderr().contains("EBUSY"), "{}", room.stderr());
    }
    is_over.store(true, Ordering::Relaxed);
    supervisor.join().expect("it ends");
}

/// Under `UINOTIFY_DISABLE=1` a program has the kernel's inotify, whatever stands around it.
pub(super) fn disabled_programs_have_the_kernels() -> Outcome {
    let room = Room::new();
    let program = Program::MuslStatic.path();
    let program = program.to_str().ok_or("UTF-8")?;
    for (index, (value, expected)) in [("1", "anon_inode:i"), ("0", "socket:["), ("", "socket:[")].iter().enumerate() {
        let folder = room.folder(&index.to_string());
        let variable = format!("UINOTIFY_DISABLE={value}");
        let ended = end(&mut room.run(&["--interpose", "seccomp"], &["env", &variable, program, "twice", &folder]));
        assert!(ended.stdout.lines().all(|line| line.starts_with(expected)), "{value}: {}", ended.stdout);
    }
    Ok(())
}
