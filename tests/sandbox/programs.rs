//! Programs of others give the same in the mount.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::both::Scene;
use crate::tree;

type Test = fn() -> Result<()>;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("programs::tar_there_and_back", tar_there_and_back),
    ("programs::git_clone_and_status", git_clone_and_status),
    ("programs::sqlite", sqlite),
    ("programs::c_build", c_build),
];

fn run<A: AsRef<OsStr>>(folder: &Path, program: &str, arguments: impl IntoIterator<Item = A>) -> Result<String> {
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(folder).env("LC_ALL", "C").output();
    let output = output.with_context(|| format!("{program} cannot be started"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{program}: {}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

fn shell(folder: &Path, script: &str) -> Result<String> {
    run(folder, "sh", ["-ec", script])
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

fn git_clone_and_status() -> Result<()> {
    let scene = Scene::new()?;
    let _server = scene.serve()?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for side in ["plain", "seen"] {
        let folder = scene.path(side);
        let source = here.display().to_string();
        run(&folder, "git", ["-c", "safe.directory=*", "clone", "-q", "--no-local", &source, "copy"])?;
        let copy = folder.join("copy");
        ensure!(run(&copy, "git", ["status", "--porcelain"])?.is_empty(), "{side}: not clean");
        fs::write(copy.join("README.md"), b"changed")?;
        fs::remove_file(copy.join("Cargo.toml"))?;
        fs::write(copy.join("new"), b"")?;
        let status = run(&copy, "git", ["status", "--porcelain"])?;
        run(&copy, "git", ["add", "-A"])?;
        run(&copy, "git", ["-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-q", "-m", "Change"])?;
        run(&copy, "git", ["gc", "-q"])?;
        run(&copy, "git", ["fsck", "--no-progress"])?;
        files.push((status, run(&copy, "git", ["ls-files", "-s"])?));
    }
    let [plain, seen] = &files[..] else { anyhow::bail!("two sides") };
    ensure!(plain == seen, "{plain:?}\n{seen:?}");
    tree::compare_views(&scene.path("lower"), &scene.path("seen"))
}

fn sqlite() -> Result<()> {
    const SCRIPT: &str = "
        import sqlite3
        for mode in ('delete', 'wal', 'truncate', 'memory'):
            base = sqlite3.connect('base')
            print(base.execute('pragma journal_mode=' + mode).fetchone())
            base.execute('create table if not exists t (n integer primary key, s text)')
            with base:
                base.executemany('insert into t (s) values (?)', ((str(n) * 20,) for n in range(2000)))
            other = sqlite3.connect('base', timeout=0)
            base.execute('begin immediate')
            try:
                other.execute('begin immediate')
                print('both')
            except sqlite3.OperationalError as error:
                print(error)
            base.rollback()
            print(other.execute('select count(*), sum(length(s)) from t').fetchone())
            print(other.execute('pragma integrity_check').fetchone())
            other.close()
            base.close()";
    let script: String =
        SCRIPT.lines().map(|line| line.strip_prefix("        ").unwrap_or(line).to_owned() + "\n").collect();
    let scene = Scene::new()?;
    let _server = scene.serve()?;
    let said = ["plain", "seen"].map(|side| run(&scene.path(side), "python3", ["-c", &script]));
    let [plain, seen] = said;
    let (plain, seen) = (plain?, seen?);
    ensure!(plain == seen, "{plain}\n{seen}");
    ensure!(plain.contains("wal"), "no write-ahead log: {plain}");
    Ok(())
}

fn c_build() -> Result<()> {
    const SCRIPT: &str = r#"
        mkdir src; cd src
        for n in 1 2 3 4 5 6; do echo "int f$n(int x) { return x + $n; }" > f$n.c; done
        printf '%s\n' '#include <stdio.h>' 'int f1(int); int f6(int);' \
            'int main(void) { printf("%d\n", f1(1) + f6(6)); return 0; }' > main.c
        for f in *.c; do cc -c -O1 -o "${f%.c}.o" "$f"; done
        ar rc libf.a f?.o; cc -o program main.o libf.a; ./program; strip program; ./program
        cc -shared -fPIC -o libshared.so f1.c f6.c main.c; cp -a program ../copy; ../copy; ls | sort"#;
    let scene = Scene::new()?;
    let _server = scene.serve()?;
    let (plain, seen) = (shell(&scene.path("plain"), SCRIPT)?, shell(&scene.path("seen"), SCRIPT)?);
    ensure!(plain == seen && plain.starts_with("14\n14\n14\n"), "{plain}\n{seen}");
    tree::compare_views(&scene.path("lower"), &scene.path("seen"))
}
