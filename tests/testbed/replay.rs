//! Recordings: what a program has asked and was told comes again, and where another one departs is told.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Outcome;
use crate::puppet::Puppet;

const PATIENCE: Duration = Duration::from_secs(30);

/// What a shell says of a program that SIGTERM has ended.
const TERMINATED: i32 = 128 + Signal::SIGTERM as i32;

/// A folder in which programs are recorded and replayed.
struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn folder(&self, name: &str) -> PathBuf {
        fs::create_dir_all(self.path(name)).expect("a folder");
        self.path(name)
    }

    /// `uinotify`, with its standard error in a file.
    fn uinotify(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uinotify"));
        command.args(line.split_whitespace()).env("XDG_RUNTIME_DIR", self.0.path()).current_dir(self.0.path());
        command.stderr(File::create(self.path("stderr")).expect("a file in a folder of our own"));
        command
    }

    fn puppet(&self, line: &str) -> Puppet {
        let this = std::env::current_exe().expect("/proc is mounted");
        Puppet::run(self.uinotify(line).arg("--").arg(this).arg("--puppet"))
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn eventually(&self, name: &str, part: &str) -> Outcome {
        let start = Instant::now();
        while !self.read(name).contains(part) {
            if start.elapsed() > PATIENCE {
                return Err(format!("not after {PATIENCE:?}: {part:?} in {}", self.read(name)).into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// Events before and behind others that were lost, a watch that a call ends and one that ends by itself, calls that fail: what the
/// calls have returned, and all events.
fn session(puppet: &mut Puppet, watched: &Path, mut act: impl FnMut(&str)) -> (Vec<String>, Vec<String>) {
    let (mut said, mut events) = (Vec::new(), Vec::new());
    // How many come with one read is chance where the next one waits only for the last to be read.
    let mut read = |puppet: &mut Puppet, instance: &str, count: usize| {
        while events.len() < count {
            let read = puppet.read(instance);
            events.extend(read.split(' ').filter(|event| *event != "EAGAIN").map(str::to_owned));
        }
    };
    let instance = puppet.init();
    said.push(puppet.add(&instance, watched, libc::IN_ALL_EVENTS));
    act("a");
    said.push(puppet.read(&instance));
    said.push(puppet.add(&instance, &watched.join("none"), libc::IN_CREATE));
    said.push(puppet.does(&format!("cursor {instance} 7000")));
    said.push(puppet.does(&format!("cursor {instance} 0")));
    said.push(puppet.add(&instance, &watched.join("inner"), libc::IN_ALL_EVENTS));
    act("b");
    read(puppet, &instance, 5);
    said.push(puppet.does(&format!("rm {instance} 1")));
    said.push(puppet.does(&format!("rm {instance} 1")));
    read(puppet, &instance, 6);
    act("c");
    read(puppet, &instance, 9);
    said.push(puppet.read(&instance));
    (said, events)
}

pub(super) fn a_session_comes_again() -> Outcome {
    let room = Room::new();
    let (watched, copy) = (room.folder("watched"), room.folder("copy"));
    for folder in [&watched, &copy] {
        fs::create_dir(folder.join("inner"))?;
    }
    let mut puppet = room.puppet("record --limit queue=4 recording");
    let recorded = session(&mut puppet, &watched, |step| match step {
        "a" => (0..3).for_each(|_| fs::write(watched.join("inner/file"), "text").expect("it is made")),
        "b" => ["x", "y", "z"].iter().for_each(|name| fs::write(watched.join(name), "").expect("it is made")),
        _ => {
            fs::remove_file(watched.join("inner/file")).expect("it is there");
            fs::remove_dir(watched.join("inner")).expect("it is empty");
        }
    });
    assert_eq!(puppet.ends(), Some(0), "{}", room.read("stderr"));
    assert_eq!(recorded.0, ["1", "EAGAIN", "ENOENT", "0", "EINVAL", "7000", "0", "EINVAL", "EAGAIN"]);
    let events = "1:100:x 1:20:x 1:8:x 1:100:y -1:4000 1:8000 7000:200:file 7000:400 7000:8000";
    assert_eq!(recorded.1.join(" "), events);

    // Also past the library.
    for way in ["auto", "seccomp"] {
        let (watched, place) = (watched.display(), copy.display());
        let mut puppet = room.puppet(&format!("replay --interpose {way} --map {watched}={place} recording"));
        assert_eq!(session(&mut puppet, &copy, |_| {}), recorded);
        assert_eq!((puppet.ends(), &*room.read("stderr")), (Some(0), ""));
    }
    // What happens to files is none of it.
    assert!(copy.join("inner").exists());
    Ok(())
}

/// As cut out of a longer recording, for a bug report.
const CUT: &str = r#"# It hangs when a watch ends.
{"format":"uinotify-trace","version":1,"command":["watcher"]}

{"time_us":5,"instance":3,"what":"add_watch","pid":9,"path":"/recorded/a","mask":"IN_CREATE","wd":40}
# Cut: thousands of watches.
{"time_us":6,"instance":3,"what":"add_watch","pid":9,"path":"/recorded/b","mask":"IN_CREATE","wd":90}
{"time_us":7,"instance":3,"what":"event","wd":90,"mask":"IN_CREATE","cookie":0,"name":"new","outcome":"queued","queue_events":9}
{"time_us":8,"instance":3,"what":"event","wd":40,"mask":"IN_IGNORED","cookie":0,"name":"","outcome":"queued","queue_events":10}
{"time_us":9,"instance":3,"what":"remove_watch","pid":9,"wd":90}
"#;

pub(super) fn a_cut_recording_is_followed() -> Outcome {
    let room = Room::new();
    let [a, b] = ["place/a", "place/b"].map(|name| room.folder(name));
    fs::write(room.path("cut"), CUT)?;
    let line = format!("replay --map /recorded={} cut", room.path("place").display());
    let mut puppet = room.puppet(&line);
    let instance = puppet.init();
    // Another order, as a walk has it in another place.
    assert_eq!(puppet.add(&instance, &b, libc::IN_CREATE), "90");
    assert_eq!(puppet.add(&instance, &a, libc::IN_CREATE), "40");
    assert_eq!(puppet.read(&instance), "90:100:new 40:8000");
    assert_eq!(puppet.does(&format!("rm {instance} 90")), "0");
    assert_eq!(puppet.read(&instance), "90:8000");
    assert_eq!((puppet.ends(), &*room.read("stderr")), (Some(0), ""));
    Ok(())
}

pub(super) fn departures_are_told_with_their_lines() -> Outcome {
    let room = Room::new();
    let [a, b] = ["place/a", "place/b"].map(|name| room.folder(name));
    fs::write(room.path("cut"), CUT)?;
    let place = room.path("place").display().to_string();
    let line = format!("replay --map /recorded={place} cut");
    let departures = |acts: &dyn Fn(&mut Puppet, &str)| {
        let mut puppet = room.puppet(&line);
        let instance = puppet.init();
        acts(&mut puppet, &instance);
        let status = puppet.ends();
        let said = room.read("stderr").replace(&place, "PLACE");
        assert!(said.contains("has departed"), "{said}");
        assert_eq!(status, Some(3), "{said}");
        let told = said.lines().filter_map(|line| line.strip_prefix("uinotify: departs from the recording: "));
        told.map(str::to_owned).collect::<Vec<_>>()
    };
    // Another mask, and what follows it comes no more.
    let told = departures(&|puppet, instance| {
        puppet.add(instance, &a, libc::IN_CREATE);
        puppet.add(instance, &b, libc::IN_DELETE);
    });
    let has = r#"line 6 has inotify_add_watch("PLACE/b", IN_CREATE) = 90"#;
    assert_eq!(
        told,
        [
            format!(r#"{has}, and the program calls inotify_add_watch("PLACE/b", IN_DELETE)"#),
            format!("the program has closed instance 1, and {has}; 1 calls and events more are missing"),
        ]
    );
    // A call is left out; from the next one that is the same it goes on.
    let told = departures(&|puppet, instance| {
        puppet.add(instance, &a, libc::IN_CREATE);
        puppet.does(&format!("rm {instance} 90"));
    });
    let calls = "the program calls inotify_rm_watch(90): it goes on at line 9";
    assert_eq!(
        told,
        [format!("{has} and {calls}"), "line 9 has inotify_rm_watch(90), and here it is = -1 EINVAL".to_owned()]
    );
    // One more than was recorded, and another answer.
    fs::remove_dir(&b)?;
    let told = departures(&|puppet, instance| {
        puppet.add(instance, &a, libc::IN_CREATE);
        puppet.add(instance, &b, libc::IN_CREATE);
        puppet.does(&format!("rm {instance} 40"));
        puppet.does(&format!("rm {instance} 90"));
        puppet.init();
    });
    assert_eq!(
        told,
        [
            &format!("{has}, and here it is = -1 ENOENT"),
            "line 9 has inotify_rm_watch(90), and the program calls inotify_rm_watch(40)",
            "line 9 has inotify_rm_watch(90), and here it is = -1 EINVAL",
            "inotify_init1(IN_NONBLOCK) was called, and the recording has no instance more",
        ]
    );
    Ok(())
}

pub(super) fn what_cannot_be_replayed_is_named() -> Outcome {
    let room = Room::new();
    fs::write(room.path("cut"), CUT.replace("\"wd\":40", "\"wd\":forty"))?;
    fs::write(room.path("long"), CUT.replace("\"new\"", &format!("\"{}\"", "n".repeat(256))))?;
    for (line, said) in [
        ("replay none -- true", "none: No such file or directory"),
        ("replay cut -- true", "cut: line 4 is no record: "),
        ("replay long -- true", "long: line 7 has a name of more than 255 bytes"),
        ("replay --source poll cut -- true", "in a replay all events come from the recording"),
    ] {
        assert_eq!(room.uinotify(line).status()?.code(), Some(125), "{line}");
        assert!(room.read("stderr").contains(said), "{line}: {}", room.read("stderr"));
    }
    assert_eq!(room.uinotify("replay --map here cut -- true").status()?.code(), Some(2));
    assert!(room.read("stderr").contains("a moved path is OLD=NEW"), "{}", room.read("stderr"));
    Ok(())
}

pub(super) fn events_take_their_time_when_told() -> Outcome {
    let room = Room::new();
    let a = room.folder("a");
    let cut: String = CUT
        .lines()
        .filter(|line| !line.contains("/b") && !line.contains("remove"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(room.path("cut"), cut.replace("\"time_us\":8", "\"time_us\":300008"))?;
    for way in ["auto", "seccomp", "seccomp,reads"] {
        let options = format!("--real-time --interpose {way} --map /recorded/a={}", a.display());
        let mut puppet = room.puppet(&format!("replay {options} cut"));
        let instance = puppet.does("init 0");
        let before = Instant::now();
        assert_eq!(puppet.add(&instance, &a, libc::IN_CREATE), "40");
        assert_eq!(puppet.read(&instance), "90:100:new", "{way}");
        assert_eq!(puppet.read(&instance), "40:8000", "{way}");
        let took = before.elapsed();
        assert!(took >= Duration::from_millis(300), "{way}: {took:?}");
    }
    Ok(())
}

/// What this machine lacks for the session on a checkout.
pub(super) fn inotifywait_or_git_is_missing() -> Option<String> {
    let is_there = |program: &str| Command::new(program).arg("--help").output().is_ok();
    ["git", "inotifywait"].into_iter().find(|program| !is_there(program)).map(|program| format!("needs {program}"))
}

fn git(folder: &Path, line: &str) -> Outcome {
    let mut command = Command::new("git");
    command.args(line.split_whitespace()).current_dir(folder).env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "name").env(format!("GIT_{role}_EMAIL"), "name@example.com");
    }
    let Output { status, stderr, .. } = command.output()?;
    if status.success() { Ok(()) } else { Err(format!("git {line}: {}", String::from_utf8_lossy(&stderr)).into()) }
}

/// `inotifywait` on a folder, recorded or replayed, with its output in a file.
fn inotifywait(room: &Room, line: &str, folder: &str, output: &str) -> Result<Child, libtest_mimic::Failed> {
    let mut command = room.uinotify(line);
    command.args(["--", "inotifywait", "-m", "-r", folder]).stdin(Stdio::null());
    Ok(command.stdout(File::create(room.path(output))?).spawn()?)
}

fn terminate(mut child: Child) -> Result<Option<i32>, libtest_mimic::Failed> {
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM)?;
    Ok(child.wait()?.code())
}

/// A day's work in a checkout before the eyes of inotifywait, and the same output from a copy in which nothing is done.
pub(super) fn a_checkout_is_watched_again() -> Outcome {
    let room = Room::new();
    let checkout = room.folder("checkout");
    git(&checkout, "init -q -b main")?;
    for name in ["src/one", "src/deep/two", "docs/three"] {
        fs::create_dir_all(checkout.join(name).parent().ok_or("a folder")?)?;
        fs::write(checkout.join(name), name)?;
    }
    // In a new folder inotifywait would look around by itself, beside what git does there.
    for number in 0..=255 {
        fs::create_dir_all(checkout.join(format!(".git/objects/{number:02x}")))?;
    }
    for line in ["add .", "commit -q -m first", "checkout -q -b topic", "checkout -q main"] {
        git(&checkout, line)?;
    }
    assert!(Command::new("cp").args(["-a", "checkout", "copy"]).current_dir(room.0.path()).status()?.success());

    let watcher = inotifywait(&room, "record recording", "checkout", "recorded")?;
    room.eventually("stderr", "Watches established.")?;
    fs::write(checkout.join("src/one"), "changed")?;
    for line in ["status", "add src/one", "commit -q -m second", "checkout -q topic", "mv docs/three src/three"] {
        git(&checkout, line)?;
    }
    for line in ["commit -q -m third", "merge -q main -m merged", "gc -q", "reset -q --hard HEAD~1", "checkout -q main"]
    {
        git(&checkout, line)?;
    }
    fs::write(checkout.join("the-end"), "")?;
    let end = "CLOSE_WRITE,CLOSE the-end\n";
    room.eventually("recorded", end)?;
    assert_eq!(terminate(watcher)?, Some(TERMINATED), "{}", room.read("stderr"));
    let recorded = room.read("recorded");
    assert!(recorded.lines().count() > 500, "{recorded}");

    let watcher = inotifywait(&room, "replay --map checkout=copy recording", "copy", "replayed")?;
    room.eventually("replayed", end)?;
    assert_eq!(terminate(watcher)?, Some(TERMINATED), "{}", room.read("stderr"));
    let replayed = room.read("replayed");
    let replayed: Vec<_> = replayed.lines().map(|line| line.replacen("copy/", "checkout/", 1)).collect();
    assert_eq!(replayed, recorded.lines().collect::<Vec<_>>());
    assert!(!room.read("stderr").contains("departs"), "{}", room.read("stderr"));
    assert!(!room.path("copy/the-end").exists());
    Ok(())
}
