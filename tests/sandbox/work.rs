//! What programs of others do in a folder, and what they say of it: wherever the folder is, that is the same.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

pub(crate) fn run<A: AsRef<OsStr>>(
    folder: &Path,
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String> {
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(folder).env("LC_ALL", "C").output();
    let output = output.with_context(|| format!("{program} cannot be started"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{program}: {}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

pub(crate) fn shell(folder: &Path, script: &str) -> Result<String> {
    run(folder, "sh", ["-ec", script])
}

/// Clones this project, changes, commits, packs and checks it.
pub(crate) fn git(folder: &Path) -> Result<String> {
    let source = env!("CARGO_MANIFEST_DIR");
    run(folder, "git", ["-c", "safe.directory=*", "clone", "-q", "--no-local", source, "copy"])?;
    let copy = folder.join("copy");
    ensure!(run(&copy, "git", ["status", "--porcelain"])?.is_empty(), "not clean");
    fs::write(copy.join("README.md"), b"changed")?;
    fs::remove_file(copy.join("Cargo.toml"))?;
    fs::write(copy.join("new"), b"")?;
    let status = run(&copy, "git", ["status", "--porcelain"])?;
    run(&copy, "git", ["add", "-A"])?;
    run(&copy, "git", ["-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-q", "-m", "Change"])?;
    run(&copy, "git", ["gc", "-q"])?;
    run(&copy, "git", ["fsck", "--no-progress"])?;
    Ok(status + &run(&copy, "git", ["ls-files", "-s"])?)
}

/// Fills a database in each of its journal modes, with a second connection that finds it locked.
pub(crate) fn sqlite(folder: &Path) -> Result<String> {
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
    let said = run(folder, "python3", ["-c", &script])?;
    ensure!(said.contains("wal"), "no write-ahead log: {said}");
    Ok(said)
}

/// Compiles, links, strips and runs a program.
pub(crate) fn c_build(folder: &Path) -> Result<String> {
    const SCRIPT: &str = r#"
        mkdir src; cd src
        for n in 1 2 3 4 5 6; do echo "int f$n(int x) { return x + $n; }" > f$n.c; done
        printf '%s\n' '#include <stdio.h>' 'int f1(int); int f6(int);' \
            'int main(void) { printf("%d\n", f1(1) + f6(6)); return 0; }' > main.c
        for f in *.c; do cc -c -O1 -o "${f%.c}.o" "$f"; done
        ar rc libf.a f?.o; cc -o program main.o libf.a; ./program; strip program; ./program
        cc -shared -fPIC -o libshared.so f1.c f6.c main.c; cp -a program ../copy; ../copy; ls | sort"#;
    let said = shell(folder, SCRIPT)?;
    ensure!(said.starts_with("14\n14\n14\n"), "{said}");
    Ok(said)
}
