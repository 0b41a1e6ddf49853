//! What a program gets from its starter, and the starter from the program: nothing is changed on the way.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

use crate::room::{Outcome, Room, Running, before_exec, eventually, ignore};

pub(super) fn exit_status_passes_through() -> Outcome {
    let room = Room::new();
    for (script, expected) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        ("kill -TERM $$", 128 + 15),
        ("kill -KILL $$", 128 + 9),
        // A real-time signal, which few libraries have a name for.
        ("kill -40 $$", 128 + 40),
    ] {
        let ended = room.run(&[], &["sh", "-c", script]);
        assert_eq!(ended.status, Some(expected), "{script}: {}", ended.stderr);
        assert_eq!(ended.stderr, "", "{script}");
    }
    // Whoever ignores SIGCHLD has its children reaped by the kernel, and their exit status lost.
    let mut command = room.uinotify(&["run", "--", "sh", "-c", "exit 5"]);
    before_exec(&mut command, || ignore(Signal::SIGCHLD));
    assert_eq!(room.end(&mut command).status, Some(5));
    Ok(())
}

pub(super) fn own_errors_are_125_126_127() -> Outcome {
    let room = Room::new();
    let script = room.path("script");
    fs::write(&script, "#!/nonexistent/interpreter\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let plain = room.path("plain");
    fs::write(&plain, "exit 0")?;
    for (command, expected, reason) in [
        ("no-such-program-anywhere", 127, "No such file or directory"),
        ("/nonexistent/program", 127, "No such file or directory"),
        (script.to_str().expect("UTF-8"), 127, "interpreter"),
        (plain.to_str().expect("UTF-8"), 126, "Permission denied"),
        ("/", 126, "Permission denied"),
    ] {
        // A folder in PATH that may not be searched would make EACCES of ENOENT.
        let mut run = room.uinotify(&["run", "--", command]);
        let ended = room.end(run.env("PATH", "/usr/bin:/bin"));
        assert_eq!(ended.status, Some(expected), "{command}: {}", ended.stderr);
        assert!(ended.stderr.starts_with(&format!("uinotify: cannot run {command}: ")), "{}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    eventually("no socket is left", || room.sockets().is_empty())
}

pub(super) fn usage_errors_say_what_is_wrong() -> Outcome {
    let room = Room::new();
    for (options, word) in [
        (&["--next-wd", "0", "--", "true"][..], "0x7fffffff"),
        (&["--next-wd", "0x80000000", "--", "true"], "0x7fffffff"),
        (&["--next-wd", "-1", "--", "true"], "0x7fffffff"),
        (&["--next-wd=1x", "--", "true"], "0x7fffffff"),
        (&["--limit", "files=1", "--", "true"], "watches"),
        (&["--limit", "watches=0x100000000", "--", "true"], "0xffffffff"),
        (&["--setnextwd", "maybe", "--", "true"], "enotty"),
        (&["--source", "magic", "--", "true"], "inotify"),
        (&["--no-such-option", "--", "true"], "--no-such-option"),
        (&[], "CMD"),
    ] {
        let ended = room.end(&mut room.uinotify(&[&["run"], options].concat()));
        assert_eq!(ended.status, Some(125), "{options:?}");
        assert!(ended.stderr.contains(word), "{options:?}: {}", ended.stderr);
        assert!(ended.stderr.lines().all(|line| line.starts_with("uinotify: ")), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(room.end(&mut room.uinotify(&["ps", "--no-such-option"])).status, Some(2));
    assert_eq!(room.end(&mut room.uinotify(&["run", "--help"])).status, Some(0));
    Ok(())
}

pub(super) fn signal_state_is_inherited() -> Outcome {
    let room = Room::new();
    let show = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"];
    let blocked: SigSet = [Signal::SIGUSR1, Signal::SIGTERM, Signal::SIGCHLD].into_iter().collect();
    for (mask, ignored) in [
        (SigSet::empty(), &[][..]),
        (SigSet::empty(), &[Signal::SIGPIPE]),
        (blocked, &[Signal::SIGHUP]),
        (blocked, &[Signal::SIGCHLD, Signal::SIGPIPE, Signal::SIGINT]),
    ] {
        let state = |mut command: Command| {
            before_exec(&mut command, move || {
                ignored.iter().try_for_each(|signal| ignore(*signal))?;
                Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?)
            });
            room.end(&mut command).stdout
        };
        let expected = state(room.command(show[0], &show[1..]));
        assert_eq!(expected.lines().count(), 2);
        assert_eq!(state(room.uinotify(&[&["run", "--"], &show[..]].concat())), expected, "with {ignored:?} ignored");
    }
    Ok(())
}

pub(super) fn descriptors_are_inherited_and_no_others() -> Outcome {
    let room = Room::new();
    let extra = File::open("/dev/null")?;
    let number = extra.as_raw_fd();
    let report = room.path("report");
    let script = format!("ls /proc/self/fd > {}", report.display());
    for closed in [&[][..], &[0], &[0, 1, 2], &[2]] {
        let shown = |mut command: Command| {
            before_exec(&mut command, move || {
                // A copy that survives exec.
                // SAFETY: it takes no pointer; 77 is nobody's in the child.
                unsafe { libc::dup2(number, 77) };
                for descriptor in closed {
                    // SAFETY: it takes no pointer; the child is about to execute another program.
                    unsafe { libc::close(*descriptor) };
                }
                Ok(())
            });
            let status = command.status().expect("the command starts");
            (status.code(), fs::read_to_string(&report).expect("the program has written it"))
        };
        let expected = shown(room.command("sh", &["-c", &script]));
        assert!(expected.1.lines().any(|line| line == "77"));
        assert_eq!(shown(room.uinotify(&["run", "--", "sh", "-c", &script])), expected, "with {closed:?} closed");
    }
    Ok(())
}

pub(super) fn bytes_pass_untouched() -> Outcome {
    let room = Room::new();
    let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    fs::write(room.path("input"), &bytes)?;
    let mut command = room.uinotify(&["run", "--", "sh", "-c", "cat; printf 'no newline\\377' >&2"]);
    let output = command.stdin(File::open(room.path("input"))?).stdout(Stdio::piped()).output()?;
    assert!(output.stdout == bytes, "standard output differs from standard input");
    assert_eq!(fs::read(room.path("stderr"))?, b"no newline\xff");
    Ok(())
}

pub(super) fn output_ends_with_the_program() -> Outcome {
    let room = Room::new();
    let mut command = room.uinotify(&["run", "--", "sh", "-c", "exec >&-; read answer; exit 4"]);
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let mut rest = Vec::new();
    running.output.read_to_end(&mut rest)?;
    assert_eq!(running.child.try_wait()?, None, "the program still runs, and its output has ended");
    running.tell("done");
    assert_eq!(running.child.wait()?.code(), Some(4));
    Ok(())
}

pub(super) fn preloaded_libraries_are_kept() -> Outcome {
    let room = Room::new();
    let mut command = room.uinotify(&["run", "--", "sh", "-c", "echo $LD_PRELOAD"]);
    let list = room.end(command.env("LD_PRELOAD", "/nonexistent/libuinotify-0.so libm.so.6")).stdout;
    let items: Vec<_> = list.trim_end().split(':').collect();
    let [shim, kept] = items[..] else {
        return Err(format!("two libraries are preloaded: {list}").into());
    };
    assert_eq!(kept, "libm.so.6");
    assert!(Path::new(shim).starts_with(room.folder.path()), "{shim}");
    assert_eq!(fs::read(shim)?, uinotify::shim_file::SHIM);
    assert_eq!(fs::metadata(shim)?.permissions().mode() & 0o7777, 0o755);
    Ok(())
}

pub(super) fn settings_of_the_shim_pass_through() -> Outcome {
    let room = Room::new();
    let show = "echo ${UINOTIFY_DISABLE-unset} ${UINOTIFY_LOG-unset} ${UINOTIFY_SOCKET}";
    let command = ["run", "--", "sh", "-c", show];
    let plain = room.end(&mut room.uinotify(&command)).stdout;
    assert!(plain.starts_with("unset unset /"), "{plain}");
    let token = plain.trim_end().rsplit_once("?token=").expect("there is a token").1;
    assert!(token.len() == 32 && token.bytes().all(|digit| digit.is_ascii_hexdigit()), "{token}");
    let set = room.end(room.uinotify(&command).env("UINOTIFY_DISABLE", "1").env("UINOTIFY_LOG", "/nonexistent/log"));
    assert!(set.stdout.starts_with("1 /nonexistent/log /"), "{}", set.stdout);
    Ok(())
}
