//! What runs before `main`.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Completion, Failed};

use crate::under::Program;

/// Opens an instance when it is loaded, and seeks the next function, as the wrappers of `malloc` and the like do.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/inotify.h>
int instance = -1;
void *next;
void *next_of_version;
__attribute__((constructor)) static void open_instance(void) {
    // Before the other, which finds everything.
    next = dlsym(RTLD_NEXT, "read");
    next_of_version = dlvsym(RTLD_NEXT, "dl_iterate_phdr", "GLIBC_2.2.5");
    if (!next_of_version) next_of_version = dlvsym(RTLD_NEXT, "dl_iterate_phdr", "GLIBC_2.17");
#ifndef FIRST
    instance = inotify_init1(IN_CLOEXEC);
#endif
}
"#;

/// Ends well if that instance tells its cursor, which the kernel's own does not, and the functions were found.
const PROGRAM: &str = r"
#include <sys/inotify.h>
#include <sys/ioctl.h>
extern int instance;
extern void *next, *next_of_version;
int main(void) {
    int cursor;
    if (instance < 0) instance = inotify_init1(IN_CLOEXEC);
    if (!next || !next_of_version) return 2;
    return ioctl(instance, _IOR('I', 0x80, int), &cursor) != 0 || cursor != 1;
}
";

/// The loader runs the constructors of a program's libraries before or after the shim's: their instances are emulated, and they find
/// what they seek. A library that wants to be first is even before libc, and opens none.
pub(crate) fn of_another_library() -> Result<Completion, Failed> {
    let room = tempfile::tempdir()?;
    let (library, program) = (room.path().join("libopener.so"), room.path().join("program"));
    if Command::new("cc").arg("--version").output().is_err() {
        return Ok(Completion::ignored_with("needs a C compiler"));
    }
    let build = |text: &str, name: &str, arguments: &[&str], output: &Path| -> Result<(), Failed> {
        let source = room.path().join(name);
        fs::write(&source, text)?;
        let built = Command::new("cc").arg("-o").arg(output).arg(&source).args(arguments).output()?;
        if built.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&built.stderr).into_owned().into()) }
    };
    let folder = room.path().to_str().ok_or("the folder's name is no text")?;
    let linked = [&format!("-L{folder}"), &format!("-Wl,-rpath,{folder}"), "-lopener"].map(String::from);
    let linked = linked.each_ref().map(String::as_str);
    for place in [&[][..], &["-DFIRST", "-Wl,-z,initfirst"]] {
        build(LIBRARY, "library.c", &[&["-shared", "-fPIC"], place].concat(), &library)?;
        build(PROGRAM, "program.c", &linked, &program)?;
        Program::other("constructor", program.clone()).run()?;
    }
    Ok(Completion::Completed)
}
