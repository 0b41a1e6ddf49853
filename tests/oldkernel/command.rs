//! The whole tool.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Stdio};

use uinotify::checkpoint::Checkpoint;

use crate::Test;
use crate::room::{Ended, Outcome, Running, eventually};
use crate::scene::{NUMBER, Scene, text, uinotify};

pub(super) const TESTS: &[Test] = &[
    ("run_inotify", false, run_inotify),
    ("run_fuse", true, run_fuse),
    ("run_fuse_fast", true, run_fuse_fast),
    ("shared_mappings", true, shared_mappings),
    ("run_fanotify", false, run_fanotify),
    ("preloaded", false, preloaded),
    ("serve_and_ps", false, serve_and_ps),
    ("dump_and_restore", false, dump_and_restore),
    ("dump_and_restore_in_a_tree", true, dump_and_restore_in_a_tree),
    ("mount", true, mount),
    ("doctor", true, doctor),
];

/// What a kernel of 3.10 may be asked by a file system of its protocol: LOOKUP to RELEASEDIR, FSYNCDIR, ACCESS, CREATE, IOCTL, BATCH_FORGET
/// or FORGET, FALLOCATE. Not DESTROY, which only a block device gets.
const ASKED_BY_PROGRAM: [u32; 30] =
    [1, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 34, 35, 43];

/// The program has said what it says natively.
fn same(ended: &Ended, native: &str) {
    let differs = ended.stdout.lines().zip(native.lines()).find(|(line, native)| line != native);
    assert_eq!((ended.status, &*ended.stderr, differs), (Some(0), "", None));
    assert_eq!(ended.stdout.len(), native.len());
}

fn run_inotify(scene: &Scene) -> Outcome {
    let (native, folder) = (scene.native()?, scene.folder("watched")?);
    for source in ["inotify", "auto"] {
        let ended = scene.end(&["run", "--source", source, "--", scene.program(), "watch", &folder, NUMBER]);
        same(&ended, &native);
    }
    Ok(())
}

fn run_fuse(scene: &Scene) -> Outcome {
    let (native, folder) = (scene.native()?, scene.folder("watched")?);
    let options = ["run", "--source", "fuse", "--tree", &folder, "--", scene.program(), "watch", &folder, NUMBER];
    let ended = scene.end(&options);
    same(&ended, &native);

    if !scene.is_doubled {
        return Ok(());
    }
    // What went over the device is what an old kernel knows.
    let journal = scene.journal();
    let of = |what: &str| -> Vec<u32> {
        journal.iter().filter(|(other, _)| other == what).map(|(_, number)| *number).collect()
    };
    let bytes = if scene.kernel.fuse_minor() < 23 { 24 } else { 64 };
    assert_eq!(of("init bytes"), [bytes]);
    assert_eq!(of("init flags beyond"), [0]);
    let asked: BTreeSet<u32> = of("asked").into_iter().collect();
    let missing: Vec<_> = ASKED_BY_PROGRAM.iter().filter(|number| !asked.contains(number)).collect();
    assert!(missing.is_empty(), "never asked: {missing:?}");
    assert!(asked.last() <= Some(&45), "{asked:?}");
    Ok(())
}

fn run_fuse_fast(scene: &Scene) -> Outcome {
    let (native, folder) = (scene.native()?, scene.folder("watched")?);
    let options = ["run", "--source", "fuse", "--mode", "fast", "--tree", &folder, "--"];
    let ended = scene.end(&[&options[..], &[scene.program(), "watch", &folder, NUMBER]].concat());
    same(&ended, &native);
    Ok(())
}

/// In exact mode this protocol has none; in fast mode a file that nobody watches goes through the page cache.
fn shared_mappings(scene: &Scene) -> Outcome {
    let folder = scene.folder("watched")?;
    let file = format!("{folder}/file");
    fs::write(&file, "text")?;
    let exact = if scene.is_doubled { "No such device\n" } else { "shared\n" };
    for (mode, said) in [("exact", exact), ("fast", "shared\n")] {
        let options = ["run", "--source", "fuse", "--mode", mode, "--tree", &folder, "--"];
        let ended = scene.end(&[&options[..], &[scene.program(), "share", &file]].concat());
        assert_eq!((ended.status, &*ended.stdout, &*ended.stderr), (Some(0), said, ""), "{mode}");
    }
    Ok(())
}

/// There is no such source, and it is said, with the errno of what cannot be watched.
fn run_fanotify(scene: &Scene) -> Outcome {
    let folder = scene.folder("watched")?;
    let ended = scene.end(&["run", "--source", "fanotify", "--", scene.program(), "watch", &folder, NUMBER]);
    assert_eq!((ended.status, &*ended.stdout), (Some(1), "inotify_add_watch: No space left on device\n"));
    let told = format!("uinotify: {folder} cannot be watched by fanotify: Invalid argument");
    assert_eq!(ended.stderr.trim_end(), told);
    Ok(())
}

/// The library alone, which starts an emulator by itself.
fn preloaded(scene: &Scene) -> Outcome {
    let (native, folder) = (scene.native()?, scene.folder("watched")?);
    let library = scene.end(&["library"]);
    assert_eq!((library.status, &*library.stderr), (Some(0), ""));
    let mut command = scene.command(scene.program(), &["watch", &folder, NUMBER]);
    let ended = scene.room.end(command.env("LD_PRELOAD", library.stdout.trim_end()));
    same(&ended, &native);
    Ok(())
}

/// A program that holds a watch; its process and its descriptor.
fn holder(scene: &Scene, options: &[&str], folder: &str) -> (Running, String, String) {
    let hold = [&["run"], options, &["--", scene.program(), "hold", folder, NUMBER]].concat();
    let mut running = Running::start(scene.uinotify(&hold).stdin(Stdio::piped()));
    assert_eq!(running.line(), format!("wd {NUMBER}"));
    let line = running.line();
    let (pid, fd) = line.split_once(' ').expect("two numbers");
    (running, pid.to_owned(), fd.to_owned())
}

fn dump_and_restore(scene: &Scene) -> Outcome {
    dump_and_restore_by(scene, &[], false)
}

fn dump_and_restore_in_a_tree(scene: &Scene) -> Outcome {
    dump_and_restore_by(scene, &["--source", "fuse"], true)
}

/// An instance with two unread events is dumped while its program goes on, and another program finds it.
fn dump_and_restore_by(scene: &Scene, options: &[&str], in_tree: bool) -> Outcome {
    let folder = scene.folder("watched")?;
    let tree = if in_tree { vec!["--tree", &*folder] } else { Vec::new() };
    let (mut running, pid, fd) = holder(scene, &[options, &tree].concat(), &folder);
    // In the tree, as the program sees it.
    let seen = if in_tree { format!("/proc/{pid}/root{folder}") } else { folder.clone() };
    for name in ["unread1", "unread2"] {
        fs::create_dir(format!("{seen}/{name}"))?;
    }
    let shown = scene.end(&["fdinfo", &pid, &fd]);
    assert!(shown.stdout.contains("inotify wd:34d71d6 ino:"), "{}{}", shown.stdout, shown.stderr);
    let file = scene.room.path("checkpoint.json");
    let dumped = scene.end(&["dump", "--pid", &pid, "-o", text(&file)]);
    assert_eq!((dumped.status, &*dumped.stdout, &*dumped.stderr), (Some(0), "", ""));
    running.tell("go");
    let events = ["wd 0x34d71d6 mask 0x40000100 unread1", "wd 0x34d71d6 mask 0x40000100 unread2"];
    assert_eq!([running.line(), running.line()], events);

    let checkpoint = Checkpoint::from_json(&fs::read(&file)?)?;
    let instance = &checkpoint.instances[0];
    assert_eq!((instance.watches[0].wd, instance.cursor), (0x34d_71d6, 0x34d_71d7));
    for way in [&[][..], &["--via", "ioctl"]] {
        let restore = [&["restore", text(&file), "--verify"], way, options, &["--"]].concat();
        if in_tree {
            // There is no tree: what was watched in it is another object, which is told.
            let restored = scene.end(&[&restore[..], &[scene.program(), "resume", &fd, &folder]].concat());
            assert_eq!(restored.status, Some(125), "{}", restored.stdout);
            assert!(restored.stderr.contains("wd 0x34d71d6: "), "{}", restored.stderr);
        } else {
            let restored = scene.end(&[&restore[..], &[scene.program(), "resume", &fd, "/"]].concat());
            let expected = format!("{}\n{}\nnext wd 0x34d71d7\n", events[0], events[1]);
            assert_eq!((restored.status, &*restored.stderr, &*restored.stdout), (Some(0), "", &*expected), "{way:?}");
        }
    }
    drop(running.child.stdin.take());
    assert_eq!(running.child.wait()?.code(), Some(0));
    Ok(())
}

/// It ends with its test, however that ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve_and_ps(scene: &Scene) -> Outcome {
    let (native, folder) = (scene.native()?, scene.folder("watched")?);
    let socket = scene.room.path("server.sock");
    let mut server = Server(scene.uinotify(&["serve", "--socket", text(&socket)]).spawn()?);
    eventually("it serves", || scene.end(&["ps", "--socket", text(&socket)]).status == Some(0))?;
    let script = "eval \"$(\"$1\" env --socket \"$2\")\"; shift 2; exec \"$@\"";
    let words = ["-c", script, "sh", uinotify(), text(&socket), scene.program(), "watch", &folder, NUMBER];
    let ended = scene.room.end(&mut scene.command("sh", &words));
    same(&ended, &native);

    let (running, pid, _) = holder(scene, &[], &folder);
    let shown = scene.end(&["ps", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&shown.stdout)?;
    let text = json.to_string();
    assert!(text.contains("55407062") && text.contains(&folder), "{text} for {pid}");
    drop(running);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(server.0.id().cast_signed()), nix::sys::signal::Signal::SIGTERM)?;
    assert_eq!(server.0.wait()?.code(), Some(0));
    Ok(())
}

/// A tree that every process sees, in this test's own mount name space.
fn mount(scene: &Scene) -> Outcome {
    let (native, lower, point) = (scene.native()?, scene.folder("lower")?, scene.folder("point")?);
    let script = r#"mount --make-rprivate / || exit 9
        socket=$(LD_PRELOAD=$DOUBLE "$1" mount --source fuse "$2" "$3") || exit 8
        (eval "$("$1" env --socket "$socket")"; exec "$4" watch "$3" "$5") || exit 7
        "$1" umount "$3" || exit 6"#;
    let doubled = scene.uinotify(&[]);
    let variable = |name: &str| doubled.get_envs().find(|(other, _)| *other == name).and_then(|(_, value)| value);
    let words = ["--mount", "sh", "-c", script, "sh", uinotify()];
    let mut command = scene.command("unshare", &words);
    command.args([&*lower, &*point, scene.program(), NUMBER]).env("DOUBLE", variable("LD_PRELOAD").unwrap_or_default());
    command.env("UINOTIFY_TEST_FUSE", variable("UINOTIFY_TEST_FUSE").unwrap_or_default());
    let ended = scene.room.end(&mut command);
    same(&ended, &native);
    Ok(())
}

/// What this kernel lacks, and that the tool works all the same.
fn doctor(scene: &Scene) -> Outcome {
    let folder = scene.folder("watched")?;
    let ended = scene.end(&["doctor", "--json", &folder]);
    let found: serde_json::Value = serde_json::from_str(&ended.stdout)?;
    let works = |place: &str| found.pointer(place).and_then(|place| place["works"].as_bool());
    let why = |place: &str| found.pointer(place).and_then(|place| place["why"].as_str()).unwrap_or_default();
    assert_eq!((ended.status, &*ended.stderr, works("/default")), (Some(0), "", Some(true)), "{found}");
    for place in ["/library", "/program", "/sources/inotify", "/sources/fuse"] {
        assert_eq!(works(place), Some(true), "{place}: {found}");
    }
    assert_eq!((works("/kernel_setnextwd"), why("/kernel_setnextwd")), (Some(false), "ENOTTY"));
    assert_eq!(works("/sources/fanotify"), Some(false));
    assert_eq!(why("/sources/fanotify"), "the kernel tells no names by it (that came with Linux 5.9)");
    assert_eq!(found["auto"]["source"], "inotify");
    Ok(())
}
