//! `uinotify doctor`: it says what is so, of machines on which something is missing too.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::room::{Ended, Outcome, Room};

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr))
}

pub(super) fn what_works_is_said() -> Outcome {
    let room = Room::new();
    let path = room.folder.path().to_str().ok_or("a UTF-8 path")?;
    let instance = nix::sys::inotify::Inotify::init(nix::sys::inotify::InitFlags::IN_CLOEXEC)?;
    for _ in 0..3 {
        instance.add_watch(path, nix::sys::inotify::AddWatchFlags::IN_CREATE)?;
    }
    let ended = room.end(&mut room.uinotify(&["doctor", "--json", path]));
    let found = json(&ended);
    assert_eq!(ended.status, Some(0), "{found}");
    assert_eq!((&found["default"]["works"], &found["auto"]["source"]), (&true.into(), &"inotify".into()));
    assert_eq!((&found["library"]["works"], &found["program"]["works"]), (&true.into(), &true.into()));
    assert_eq!(found["no_libc"]["works"], true);
    // This process holds an instance with one watch.
    let users = found["in_use"]["users"].as_array().ok_or("users")?;
    let processes = users.iter().flat_map(|user| user["processes"].as_array().into_iter().flatten());
    let own = processes.into_iter().find(|process| process["pid"] == std::process::id()).ok_or("this process")?;
    assert_eq!((&own["instances"], &own["watches"]), (&1.into(), &1.into()));
    let text = room.end(&mut room.uinotify(&["doctor", path]));
    assert_eq!(text.status, Some(0));
    assert!(text.stdout.lines().count() < 40, "{}", text.stdout);
    assert!(text.stdout.ends_with("default   works: uinotify run -- PROGRAM\n"), "{}", text.stdout);
    Ok(())
}

/// A path that is not there, a program that does not take the library.
pub(super) fn what_fails_is_said() -> Outcome {
    let room = Room::new();
    let absent = room.end(&mut room.uinotify(&["doctor", "--json", "/nonexistent"]));
    let found = json(&absent);
    assert_eq!((absent.status, &found["auto"]["why"]), (Some(1), &"No such file or directory".into()));
    assert_eq!(found["default"], serde_json::json!({ "works": false, "why": "No such file or directory" }));
    assert_eq!(found["program"]["works"], true);

    let cat = room.path("cat");
    fs::write(&cat, "#!/bin/sh\necho deaf >&2\n")?;
    fs::set_permissions(&cat, fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:/usr/bin:/bin", room.folder.path().display());
    let deaf = room.end(room.uinotify(&["doctor", "--json"]).env("PATH", path));
    let why = format!("the library is not loaded into {}: deaf", cat.display());
    assert_eq!((deaf.status, &json(&deaf)["library"]["why"]), (Some(1), &why.into()));
    Ok(())
}

/// In a user name space in which nobody may have an instance of the kernel's.
pub(super) fn a_kernel_without_instances_is_said() -> Outcome {
    let room = Room::new();
    let script = "echo 0 >/proc/sys/user/max_inotify_instances && exec \"$1\" doctor --json /";
    let words = ["--user", "--map-root-user", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_uinotify")];
    let ended = room.end(&mut room.command("unshare", &words));
    let found = json(&ended);
    let why = "this user has all the instances that the kernel gives one (fs.inotify.max_user_instances)";
    assert_eq!((ended.status, &found["sources"]["inotify"]["why"]), (Some(1), &why.into()), "{found}");
    assert_eq!((&found["default"]["why"], &found["auto"]["why"]), (&why.into(), &why.into()));
    assert_eq!(found["library"]["works"], true);
    Ok(())
}
