//! A library that stands in front of libc's functions and asks for the next ones, as allocators and tracers do.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Completion, Failed};

use crate::compare::{Side, run_file};

/// RTLD_NEXT means what comes after the library that asks: were it taken for another's, the library would find itself.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
static int depth;
static void *next(const char *name) {
    if (++depth > 3) { printf("%s finds itself\n", name); fflush(stdout); _Exit(1); }
    return dlsym(RTLD_NEXT, name);
}
ssize_t read(int fd, void *buffer, size_t count) {
    ssize_t (*of_libc)(int, void *, size_t) = next("read");
    ssize_t result = of_libc(fd, buffer, count);
    depth--;
    return result;
}
pid_t getppid(void) {
    pid_t (*of_libc)(void) = next("getppid");
    pid_t result = of_libc();
    depth--;
    return result;
}
int library(void) { return dlsym(RTLD_NEXT, "library") == NULL; }
"#;

const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>
int library(void);
/* All places of the user may be taken for a moment. */
static int open_by(int (*init)(int)) {
    int fd = -1;
    for (int times = 0; times < 400000 && (fd = init(IN_NONBLOCK)) < 0; times++) sched_yield();
    return fd;
}
int main(int count, char **arguments) {
    char buffer[4096], path[4096];
    int fd = open_by(inotify_init1);
    printf("%d %d\n", fd, inotify_add_watch(fd, arguments[1], IN_CREATE));
    for (int number = 0; number < 2; number++) {
        snprintf(path, sizeof path, "%s/%d", arguments[1], number);
        close(open(path, O_CREAT | O_WRONLY, 0600));
    }
    printf("%d\n", (int)read(fd, buffer, sizeof buffer));
    printf("%d %d\n", getppid() > 0, library());
    int (*next)(int) = dlsym(RTLD_NEXT, "inotify_init1");
    int other = open_by(next);
    printf("%d %d\n", inotify_add_watch(other, arguments[1], IN_CREATE), (int)read(other, buffer, sizeof buffer));
    printf("%d\n", dlsym(RTLD_NEXT, "main") == NULL);
    return 0;
}
"#;

/// Natively beside emulated.
pub(crate) fn next_of_a_library() -> Result<Completion, Failed> {
    if Command::new("cc").arg("--version").output().is_err() {
        return Ok(Completion::ignored_with("needs a C compiler"));
    }
    let room = tempfile::tempdir()?;
    let path = |name: &str| room.path().join(name);
    let build = |text: &str, source: &str, arguments: &[&str], output: &Path| -> Result<(), Failed> {
        fs::write(path(source), text)?;
        let built = Command::new("cc").arg("-o").arg(output).arg(path(source)).args(arguments).output()?;
        if built.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&built.stderr).into_owned().into()) }
    };
    let folder = room.path().to_str().ok_or("the folder's name is no text")?;
    let linked = [&format!("-L{folder}"), &format!("-Wl,-rpath,{folder}"), "-Wl,--no-as-needed", "-lfront", "-ldl"]
        .map(String::from);
    let linked = linked.each_ref().map(String::as_str);
    build(LIBRARY, "library.c", &["-shared", "-fPIC", "-ldl"], &path("libfront.so"))?;
    build(PROGRAM, "program.c", &linked, &path("program"))?;
    let mut said = Vec::new();
    for side in [Side::Native, Side::Emulated, Side::ByRequest] {
        let watched = path(&format!("{side:?}"));
        fs::create_dir(&watched)?;
        said.push(run_file(side, room.path(), &path("program"), &[watched.as_os_str()])?);
    }
    if said[0].is_empty() || said[1..].iter().any(|emulated| *emulated != said[0]) {
        return Err(format!("native\n{}emulated\n{}by request\n{}", said[0], said[1], said[2]).into());
    }
    Ok(Completion::Completed)
}
