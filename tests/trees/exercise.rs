//! Programs of others, and one of ours, do natively and in a tree what leaves the same bytes and metadata.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;

use crate::fsx;
use crate::need::Need;
use crate::room::{Room, helper_command};
use crate::talk::text;
use crate::tree;
use crate::work::{self, run, shell};

/// What is done in a folder.
struct Exercise {
    name: &'static str,
    /// A program that it takes, and the option by which that says that it is there.
    program: Option<(&'static str, &'static str)>,
    work: fn(&Path) -> Result<String>,
    /// Two folders in which it was done hold the same.
    is_exact: bool,
}

const EXERCISES: &[Exercise] = &[
    Exercise { name: "fsx", program: None, work: random_io, is_exact: true },
    Exercise { name: "fsx_watched", program: None, work: random_io_watched, is_exact: true },
    Exercise { name: "fio", program: Some(("fio", "--version")), work: fio, is_exact: false },
    Exercise { name: "git", program: Some(("git", "--version")), work: work::git, is_exact: false },
    Exercise { name: "sqlite", program: Some(("python3", "--version")), work: work::sqlite, is_exact: true },
    Exercise { name: "c_build", program: Some(("cc", "--version")), work: work::c_build, is_exact: true },
    Exercise { name: "tar", program: Some(("tar", "--version")), work: tar, is_exact: true },
    Exercise { name: "folders", program: None, work: folders, is_exact: true },
];

pub(super) fn trials(is_listing: bool, missing: impl Fn(Need) -> Option<String>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for mode in ["exact", "fast"] {
        for exercise in EXERCISES {
            let name = format!("exercise::{mode}::{}", exercise.name);
            let absent = exercise.program.and_then(|(program, option)| {
                Command::new(program).arg(option).output().err().map(|error| format!("{program}: {error}"))
            });
            // Owners, devices and links in /proc to other processes' trees are for root.
            let reason = missing(Need::Mount).or(absent);
            if let (Some(reason), false) = (&reason, is_listing) {
                println!("ignored: {name}: {reason}");
            }
            let trial = Trial::test(name, move || compare(mode, exercise).map_err(|error| format!("{error:#}").into()));
            trials.push(trial.with_ignored_flag(reason.is_some()));
        }
    }
    trials
}

/// The program under test: does one of them, and says what it has to say.
pub(super) fn perform(name: &str, folder: &Path) -> Result<()> {
    let exercise = EXERCISES.iter().find(|exercise| exercise.name == name).context("no such exercise")?;
    print!("{}", (exercise.work)(folder)?);
    Ok(())
}

fn compare(mode: &str, exercise: &Exercise) -> Result<()> {
    let room = Room::new();
    fs::set_permissions(room.folder.path(), fs::Permissions::from_mode(0o755))?;
    let (plain, lower) = (room.path("plain"), room.path("lower"));
    fs::create_dir(&plain)?;
    fs::create_dir(&lower)?;
    let options = ["--source", "fuse", "--mode", mode, "--tree", text(&lower)];
    let command = helper_command(&["exercise", exercise.name, text(&plain)]);
    let native = room.end(&mut room.command(command[0], &command[1..]));
    ensure!(native.status == Some(0), "natively: {:?} {}{}", native.status, native.stdout, native.stderr);
    let command = helper_command(&["exercise", exercise.name, text(&lower)]);
    let seen = room.run(&options, &command);
    ensure!(seen.status == Some(0), "in the tree: {:?} {}{}", seen.status, seen.stdout, seen.stderr);
    ensure!(native.stdout == seen.stdout, "--- natively\n{}--- in the tree\n{}", native.stdout, seen.stdout);
    if exercise.is_exact {
        tree::compare_content(&plain, &lower).context("done natively, and in the tree")?;
    }
    // Inside it is what the rest of the machine sees outside.
    let outside = format!("/proc/{}/root{}", std::process::id(), lower.display());
    let compared = room.run(&options, &helper_command(&["compare", &outside, text(&lower)]));
    ensure!(compared.status == Some(0), "outside and inside: {}{}", compared.stdout, compared.stderr);
    Ok(())
}

const STEPS: u32 = 3000;

fn random_io(folder: &Path) -> Result<String> {
    (1..=3).map(|seed| fsx::exercise(&subfolder(folder, seed)?, STEPS, seed)).collect()
}

/// The same while somebody watches it, and stops to: in fast mode a file goes another way then, if it is opened again.
fn random_io_watched(folder: &Path) -> Result<String> {
    let mut said = String::new();
    for seed in 11..=13 {
        let folder = subfolder(folder, seed)?;
        let instance = nix::sys::inotify::Inotify::init(nix::sys::inotify::InitFlags::IN_NONBLOCK)?;
        let watch = instance.add_watch(&folder, nix::sys::inotify::AddWatchFlags::IN_ALL_EVENTS)?;
        said += &fsx::exercise(&folder, STEPS / 2, seed)?;
        instance.rm_watch(watch)?;
        fs::remove_file(folder.join("file"))?;
        said += &fsx::exercise(&folder, STEPS / 2, seed)?;
    }
    Ok(said)
}

fn subfolder(folder: &Path, number: u64) -> Result<std::path::PathBuf> {
    let folder = folder.join(number.to_string());
    fs::create_dir(&folder)?;
    Ok(folder)
}

/// Writes at random, and reads all of it back with sums, by calls and by mappings, by one and by several processes.
fn fio(folder: &Path) -> Result<String> {
    for job in [
        &["--ioengine=psync", "--rw=randrw", "--bsrange=512-64k", "--size=4m"][..],
        &["--ioengine=mmap", "--rw=randwrite", "--bs=4k", "--size=4m"],
        &["--ioengine=psync", "--rw=write", "--bs=128k", "--size=8m", "--direct=1"],
        &["--ioengine=libaio", "--iodepth=8", "--rw=randwrite", "--bs=16k", "--size=4m", "--numjobs=3"],
    ] {
        let usual = ["--name=verified", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--randseed=7"];
        let said = run(folder, "fio", usual.iter().chain(job))?;
        if !said.contains("err= 0") {
            bail!("{said}");
        }
    }
    let mut names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(format!("{names:?}\n"))
}

/// Owners, rights, times, links, devices, holes, attributes and access lists: packed and unpacked.
fn tar(folder: &Path) -> Result<String> {
    const SCRIPT: &str = "
        mkdir -p a/b/c; seq 1 10000 > a/text; ln a/text a/b/hard; ln -s ../text a/b/soft; mkfifo a/fifo
        mknod a/null c 1 3; head -c 300000 /dev/zero > a/b/c/zeros; truncate -s 5M a/b/c/sparse; chmod 4711 a/text
        chown 1000:1001 a/b; chown -h 1002:1003 a/b/soft; touch \"$(printf 'a/\\377\\n')\"
        if command -v setfattr >/dev/null; then setfattr -n user.kept -v value a/text; fi
        if command -v setfacl >/dev/null; then setfacl -m u:1234:rw a/b/c/zeros; setfacl -d -m g:77:r a/b; fi
        find a -depth -exec touch -hd @1000000000.123456789 {} +
        keep='--xattrs --xattrs-include=* --acls --numeric-owner --sparse --format=posix'
        mkdir back; tar c $keep a | tar xp $keep -C back; cd back
        find a -printf '%P %y %m %U:%G %n %T@ %l\\n' | sort";
    let said = shell(folder, SCRIPT)?;
    tree::compare_content(&folder.join("a"), &folder.join("back/a"))?;
    let times = said.lines().filter(|line| line.contains(" 1000000000.1234567890 ")).count();
    ensure!(times == said.lines().count(), "other times:\n{said}");
    Ok(said)
}

/// A folder tree that grows, moves and goes, with links between its parts.
fn folders(folder: &Path) -> Result<String> {
    let mut random = crate::random::Random::new(5);
    let mut said = String::new();
    for step in 0..3000 {
        let path = |random: &mut crate::random::Random| {
            let depth = 1 + random.below(3);
            (0..depth).fold(folder.to_owned(), |path, _| path.join(format!("n{}", random.below(5))))
        };
        let (one, other) = (path(&mut random), path(&mut random));
        let done = match random.below(8) {
            0..2 => fs::create_dir(&one),
            2..4 => fs::write(&one, step.to_string()),
            4 => fs::rename(&one, &other),
            5 => fs::hard_link(&one, &other),
            6 => fs::remove_file(&one).or_else(|_| fs::remove_dir(&one)),
            _ => std::os::unix::fs::symlink(one.file_name().unwrap_or_default(), &other),
        };
        said += &done.map_or_else(|error| format!("{:?} ", error.raw_os_error()), |()| "done ".to_owned());
    }
    Ok(said + "\n")
}
