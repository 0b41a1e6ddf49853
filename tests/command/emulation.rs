//! The options of `run`, as a program sees them.

use std::fs;

use crate::room::{Outcome, Room, eventually, helper_command};

/// What the helper `watch` shows for a new folder, under `uinotify run` with these options.
fn watched(room: &Room, options: &[&str]) -> String {
    let folder = room.path("watched");
    let _ = fs::create_dir(&folder);
    let ended = room.run(options, &helper_command(&["watch", folder.to_str().expect("UTF-8")]));
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    ended.stdout.trim_end().to_owned()
}

pub(super) fn next_wd_is_the_first_number() -> Outcome {
    let room = Room::new();
    assert_eq!(watched(&room, &[]), "wd 1 wd 2");
    assert_eq!(watched(&room, &["--next-wd", "0x34d71d6"]), "wd 55407062 wd 55407063");
    assert_eq!(watched(&room, &["--next-wd=2147483647"]), "wd 2147483647 wd 1");
    Ok(())
}

pub(super) fn limits_are_the_programs() -> Outcome {
    let room = Room::new();
    assert_eq!(watched(&room, &["--limit", "watches=1"]), format!("wd 1 errno {}", libc::ENOSPC));
    assert_eq!(watched(&room, &["--limit", "watches=0"]), format!("errno {0} errno {0}", libc::ENOSPC));
    assert_eq!(watched(&room, &["--limit", "instances=0,watches=0x1"]), format!("init errno {}", libc::EMFILE));
    Ok(())
}

pub(super) fn setnextwd_answers_as_told() -> Outcome {
    let room = Room::new();
    let answer = |answer| {
        let ended = room.run(&["--setnextwd", answer], &helper_command(&["setnextwd", "77"]));
        assert_eq!(ended.status, Some(0), "{}", ended.stderr);
        ended.stdout.trim_end().to_owned()
    };
    assert_eq!(answer("ok"), "wd 77");
    assert_eq!(answer("enotty"), format!("errno {}", libc::ENOTTY));
    assert_eq!(answer("einval"), format!("errno {}", libc::EINVAL));
    Ok(())
}

/// PROFILE-8
pub(super) fn an_old_kernel_is_shown() -> Outcome {
    let room = Room::new();
    let answer = |options: &[&str]| {
        let ended = room.run(options, &helper_command(&["setnextwd", "77"]));
        assert_eq!(ended.status, Some(0), "{}", ended.stderr);
        ended.stdout.trim_end().to_owned()
    };
    assert_eq!(answer(&["--profile", "native"]), "wd 77");
    assert_eq!(answer(&["--profile", "el7"]), format!("errno {}", libc::ENOTTY));
    assert_eq!(answer(&["--profile", "el7", "--setnextwd", "ok"]), "wd 77");

    // It goes with a checkpoint.
    let (checkpoint, watched) = (room.path("checkpoint"), room.path("watched"));
    fs::create_dir(&watched)?;
    let (checkpoint, watched) = (checkpoint.to_str().ok_or("UTF-8")?, watched.to_str().ok_or("UTF-8")?);
    let dump = format!("exec {} dump --pid $PPID -o {checkpoint}", env!("CARGO_BIN_EXE_uinotify"));
    let hold = [&helper_command(&["hold-while", watched])[..], &["sh", "-c", &dump]].concat();
    let ended = room.run(&["--profile", "el7", "--next-wd", "55"], &hold);
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
    assert!(fs::read_to_string(checkpoint)?.contains("\"profile\": \"el7\""));
    let restored = |options: &[&str]| {
        let arguments = [&["restore", checkpoint], options, &["--verify", "--"], &helper_command(&["setnextwd", "77"])];
        let ended = room.end(&mut room.uinotify(&arguments.concat()));
        assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
        ended.stdout.trim_end().to_owned()
    };
    assert_eq!(restored(&[]), format!("errno {}", libc::ENOTTY));
    assert_eq!(restored(&["--profile", "native"]), "wd 77");
    Ok(())
}

pub(super) fn nested_runs_use_the_inner_emulator() -> Outcome {
    let room = Room::new();
    let folder = room.path("watched");
    fs::create_dir(&folder)?;
    let inner = helper_command(&["watch", folder.to_str().ok_or("a UTF-8 path")?]);
    let inner = [&[env!("CARGO_BIN_EXE_uinotify"), "run", "--next-wd", "70", "--"], &inner[..]].concat();
    // No instance is left for the inner emulator, were it to use the outer one.
    let ended = room.run(&["--next-wd", "50", "--limit", "instances=0"], &inner);
    assert_eq!(ended.stdout, "wd 70 wd 71\n", "{}", ended.stderr);
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
    eventually("no socket is left", || room.sockets().is_empty())
}

pub(super) fn nested_runs_keep_the_settings() -> Outcome {
    let room = Room::new();
    let show = "echo $LD_PRELOAD; env | grep ^UINOTIFY_ | sed s/=.*sock.*/=socket/ | sort";
    let inner = [env!("CARGO_BIN_EXE_uinotify"), "run", "--", "sh", "-c", show];
    let command = [&["run", "--"], &inner[..]].concat();
    for disable in [None, Some(""), Some("0"), Some("1")] {
        let mut command = room.uinotify(&command);
        if let Some(value) = disable {
            command.env("UINOTIFY_DISABLE", value);
        }
        let ended = room.end(&mut command);
        let mut lines = ended.stdout.lines();
        assert_eq!(lines.next().map(|list| list.matches("libuinotify").count()), Some(1), "{}", ended.stderr);
        let expected: Vec<_> = disable
            .map(|value| format!("UINOTIFY_DISABLE={value}"))
            .into_iter()
            .chain(["UINOTIFY_SOCKET=socket".to_owned()])
            .collect();
        assert_eq!(lines.collect::<Vec<_>>(), expected);
    }
    Ok(())
}
