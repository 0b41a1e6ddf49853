//! Manual pages and completions, made of the definition of the command line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail};
use clap::Command;
use clap_mangen::Man;

/// What a page tells that the definition does not have: names of sections with their text in man(7), for the whole command.
const SECTIONS: &[(&str, &str)] = &[("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES), ("SEE ALSO", SEE_ALSO)];

const ENVIRONMENT: &str = "\
.TP
.B UINOTIFY_SOCKET
Where the library finds the emulator: the path of its socket, and a token behind it. Set by
.B uinotify run
and
.BR \"uinotify env\" .
.TP
.B UINOTIFY_DISABLE
With the value 1 a program has the kernel's inotify, though the library is preloaded.
.TP
.B UINOTIFY_LOG
A file, or
.IR stderr ,
that takes the few lines that the library has to say.
.TP
.B UINOTIFY_SETTLE
With the value
.I request
the library holds no descriptors of its own, for a program that is to be checkpointed.
.TP
.B UINOTIFY_EMULATOR
The command that the library starts where a program preloads it alone, in place of the one that has installed it.
";

const FILES: &str = "\
.TP
.IR $XDG_RUNTIME_DIR/uinotify ,\\~ /run/uinotify ,\\~ /tmp/uinotify-UID
Sockets of emulators, and the library, which the command writes there when it is needed.
";

const SEE_ALSO: &str = ".BR inotify (7),\n.BR ld.so (8),\n.BR criu (8)\n";

/// Prints the page of the subcommand that `names` lead to, of the command itself if there are none.
///
/// # Errors
/// There is no such subcommand, or standard output cannot be written.
pub fn print(command: &Command, names: &[String]) -> anyhow::Result<()> {
    let mut found = None;
    for_each(command.clone(), "uinotify", &mut |name, command| {
        if name.split('-').skip(1).eq(names.iter().map(String::as_str)) {
            found = Some(page(name, command)?);
        }
        Ok(())
    })?;
    let Some(page) = found else { bail!("uinotify has no subcommand {:?}", names.join(" ")) };
    io::stdout().write_all(&page).context("cannot write to standard output")
}

/// Writes all pages into a folder, which is made if it is not there.
///
/// # Errors
/// One cannot be written.
pub fn write_all(command: &Command, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for_each(command.clone(), "uinotify", &mut |name, command| {
        let path = folder.join(format!("{name}.1"));
        fs::write(&path, page(name, command)?).with_context(|| format!("cannot write {}", path.display()))
    })
}

/// Prints a script for a shell.
///
/// # Errors
/// Standard output cannot be written.
pub fn complete(mut command: Command, shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "uinotify", &mut script);
    io::stdout().write_all(&script).context("cannot write to standard output")
}

/// Visits the command and all its subcommands that help shows, each with the name of its page.
fn for_each(
    command: Command,
    name: &str,
    visit: &mut dyn FnMut(&str, &Command) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // `help` has no page: it shows these.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    visit(name, &command)?;
    for subcommand in command.get_subcommands() {
        if !subcommand.is_hide_set() {
            for_each(subcommand.clone(), &format!("{name}-{}", subcommand.get_name()), visit)?;
        }
    }
    Ok(())
}

fn page(name: &str, command: &Command) -> io::Result<Vec<u8>> {
    let is_whole = name == "uinotify";
    let man = Man::new(command.clone()).manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if is_whole {
        for (title, text) in SECTIONS {
            write!(page, ".SH \"{title}\"\n{text}")?;
        }
    } else {
        write!(page, ".SH \"SEE ALSO\"\n.BR uinotify (1)\n")?;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subcommand_that_is_shown_has_a_page() {
        let command = Command::new("uinotify")
            .about("it")
            .subcommand(Command::new("run").about("runs"))
            .subcommand(Command::new("images").about("shows").subcommand(Command::new("show").about("more")))
            .subcommand(Command::new("hidden").hide(true));
        let folder = tempfile::tempdir().unwrap();
        write_all(&command, folder.path()).unwrap();
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["uinotify-images-show.1", "uinotify-images.1", "uinotify-run.1", "uinotify.1"]);
        assert!(print(&command, &["absent".to_owned()]).is_err());
        let page = fs::read_to_string(folder.path().join("uinotify.1")).unwrap();
        assert!(page.contains(".SH \"ENVIRONMENT\"\n") && page.contains("UINOTIFY_SETTLE"));
    }
}
