//! Programs of others give the same in the mount.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::both::Scene;
use crate::tree;
use crate::work::{self, shell};

type Test = fn() -> Result<()>;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("programs::tar_there_and_back", tar_there_and_back),
    ("programs::git_clone_and_status", || say_the_same(work::git)),
    ("programs::sqlite", || say_the_same(work::sqlite)),
    ("programs::c_build", || say_the_same(work::c_build)),
];

fn say_the_same(work: fn(&Path) -> Result<String>) -> Result<()> {
    let scene = Scene::new()?;
    let _server = scene.serve()?;
    let (plain, seen) = (work(&scene.path("plain"))?, work(&scene.path("seen"))?);
    ensure!(plain == seen, "{plain}\n{seen}");
    tree::compare_views(&scene.path("lower"), &scene.path("seen"))
}

/// A tree with all kinds of objects, attributes and times, through the mount and out of it.
fn tar_there_and_back() -> Result<()> {
    let scene = Scene::new()?;
    let (plain, lower, seen) = (scene.path("plain"), scene.path("lower"), scene.path("seen"));
    let script = "
        mkdir -p a/b/c; seq 1 10000 > a/text; ln a/text a/b/hard; ln -s ../text a/b/soft; mkfifo a/fifo
        mknod a/null c 1 3; head -c 300000 /dev/zero > a/b/c/zeros; truncate -s 5M a/b/c/sparse; chmod 4711 a/text
        chown 1000:1001 a/b; touch -d @1000000000.123456789 a/b/c a/text; touch \"$(printf 'a/\\377\\n')\"";
    shell(&plain, script)?;
    let path = crate::act::c(plain.join("a/text"));
    // SAFETY: both strings live through the call, as does the value.
    let set = unsafe { libc::setxattr(path.as_ptr(), c"trusted.kept".as_ptr(), b"value".as_ptr().cast(), 5, 0) };
    nix::errno::Errno::result(set)?;
    let _server = scene.serve()?;
    const KEEP: &str = "--xattrs --xattrs-include='*' --acls --numeric-owner --sparse";
    shell(scene.folder.path(), &format!("tar c {KEEP} -C plain . | tar xp {KEEP} -C seen"))?;
    tree::compare_content(&plain, &lower)?;
    tree::compare_views(&lower, &seen)?;
    fs::create_dir(scene.path("back"))?;
    shell(scene.folder.path(), &format!("tar c {KEEP} -C seen . | tar xp {KEEP} -C back"))?;
    tree::compare_content(&plain, &scene.path("back"))
}
