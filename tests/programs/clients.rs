//! Programs that use the crates `inotify` and `notify`, and say what these tell them.

use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;

use inotify::{Inotify, WatchMask};
use notify::{RecursiveMode, Watcher};

pub(super) fn main(arguments: &[String]) -> ExitCode {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["inotify", folder] => with_inotify(Path::new(folder)),
        ["notify", folder] => with_notify(Path::new(folder)),
        _ => panic!("no such client: {arguments:?}"),
    }
}

fn say(line: &str) {
    let mut output = stdout().lock();
    writeln!(output, "{line}").expect("the output is a file");
}

fn with_inotify(folder: &Path) -> ! {
    let mut inotify = Inotify::init().expect("an instance");
    let watch = inotify.watches().add(folder, WatchMask::ALL_EVENTS).expect("a watch");
    say("ready");
    let mut buffer = [0; 4096];
    loop {
        for event in inotify.read_events_blocking(&mut buffer).expect("the descriptor can be read") {
            let (is_ours, paired) = (event.wd == watch, event.cookie != 0);
            say(&format!("{is_ours} {:?} {paired} {:?}", event.mask, event.name));
        }
    }
}

fn with_notify(folder: &Path) -> ExitCode {
    let (sender, receiver) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(sender).expect("an instance");
    watcher.watch(folder, RecursiveMode::Recursive).expect("watches");
    say("ready");
    for event in receiver {
        let event = event.expect("no error");
        say(&format!("{:?} {:?} {:?}", event.kind, event.paths, event.flag()));
    }
    ExitCode::SUCCESS
}
