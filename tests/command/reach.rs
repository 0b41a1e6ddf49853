//! Programs that the shim cannot reach, and what makes the shim reach the others.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Completion, Failed};

use crate::room::{Outcome, Room, copy_program};

/// Without a filter, which reaches all programs.
const PRELOAD: [&str; 2] = ["--interpose", "preload"];

/// Runs `program`, of which it is known what `message` has to say, with and without `--strict`.
fn is_told(room: &Room, program: &Path, message: &str, status: Option<i32>) -> Outcome {
    let program = program.to_str().ok_or("a UTF-8 path")?;
    if status.is_some() {
        let ended = room.run(&PRELOAD, &[program]);
        assert_eq!(ended.status, status);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.starts_with(&format!("uinotify: {program} ")), "{}", ended.stderr);
        assert!(ended.stderr.contains(message), "{}", ended.stderr);
    }
    let strict = room.run(&[&PRELOAD[..], &["--strict"]].concat(), &[program]);
    assert_eq!(strict.status, Some(125));
    assert_eq!(strict.stderr.lines().count(), 1, "{}", strict.stderr);
    assert!(strict.stderr.contains(message), "{}", strict.stderr);
    Ok(())
}

pub(super) fn a_static_program_is_told() -> Result<Completion, Failed> {
    let room = Room::new();
    let source = room.path("program.c");
    fs::write(&source, "int main(void) { return 7; }\n")?;
    let program = room.path("program");
    let built = Command::new("cc").arg("-static").arg("-o").arg(&program).arg(&source).output();
    if !built.is_ok_and(|output| output.status.success()) {
        return Ok(Completion::ignored_with("no C compiler that links statically"));
    }
    is_told(&room, &program, "is statically linked", Some(7))?;

    let script = room.path("script");
    fs::write(&script, format!("#! {}\n", program.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    is_told(&room, &script, &format!("runs under {}, which is statically linked", program.display()), Some(7))?;

    assert_eq!(room.run(&["--strict"], &["true"]).status, Some(0), "a dynamic program is in reach");
    Ok(Completion::Completed)
}

pub(super) fn a_setgid_program_is_told() -> Result<Completion, Failed> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Completion::ignored_with("only root can give a file to another group"));
    }
    let room = Room::new();
    let volume = nix::sys::statvfs::statvfs(room.folder.path())?;
    if volume.flags().contains(nix::sys::statvfs::FsFlags::ST_NOSUID) {
        return Ok(Completion::ignored_with("the temporary folder is mounted nosuid"));
    }
    let program = room.path("program");
    copy_program("/bin/true".as_ref(), &program)?;
    std::os::unix::fs::chown(&program, None, Some(65534))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o2755))?;
    is_told(&room, &program, "is setuid or setgid", Some(0))?;
    Ok(Completion::Completed)
}

pub(super) fn another_architecture_is_told() -> Outcome {
    let room = Room::new();
    let program = room.path("program");
    let mut bytes = fs::read("/bin/true")?;
    // e_machine: EM_BPF, which no processor is.
    bytes[18..20].copy_from_slice(&[0xf7, 0]);
    fs::write(&program, bytes)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    is_told(&room, &program, "is of another architecture", None)
}

/// One file for glibc and musl of any age: no library, no versioned symbol, no thread-local storage.
pub(super) fn shim_stands_on_nothing() -> Outcome {
    use elf::abi::{DT_NEEDED, DT_TEXTREL, DT_VERNEED, PT_TLS, SHN_UNDEF};
    let shim = elf::ElfBytes::<elf::endian::NativeEndian>::minimal_parse(uinotify::shim_file::SHIM)?;
    let segments = shim.segments().ok_or("segments")?;
    assert!(segments.iter().all(|segment| segment.p_type != PT_TLS), "a thread-local variable");
    let dynamic = shim.dynamic()?.ok_or("a dynamic section")?;
    for unwanted in [DT_NEEDED, DT_VERNEED, DT_TEXTREL] {
        assert!(dynamic.iter().all(|entry| entry.d_tag != unwanted), "a dynamic entry {unwanted:#x}");
    }
    let (symbols, names) = shim.dynamic_symbol_table()?.ok_or("dynamic symbols")?;
    let mut exported = Vec::new();
    for symbol in symbols.iter().filter(|symbol| symbol.st_shndx != SHN_UNDEF) {
        exported.push(names.get(symbol.st_name as usize)?);
    }
    for call in ["inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "ioctl", "read", "close"] {
        assert!(exported.contains(&call), "{call} is not exported: {exported:?}");
    }
    Ok(())
}
