//! `uinotify images`: what CRIU's images have of inotify.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use uinotify_images::checkpoint::Profile;
use uinotify_images::criu::{self, Directory, DirectoryError, InotifyFile, Layout, UnixSocket};
use uinotify_images::text::{ByteString, show_mask};
use uinotify_images::{Checkpoint, Instance, losses};

use crate::notice::notice;

/// Exit status of `lint` where something would be lost.
pub(crate) const EXIT_LOSSES: u8 = 3;

/// How the name of an emulator's end of an instance begins.
const EMULATED: &[u8] = b"\0uinotify/";

const CONVERT: &str = "\
Make instances of the sockets that a program under uinotify was dumped with, or the other way round

To CRIU, the descriptor of an emulated instance is a unix socket whose peer is outside the dumped processes, and it dumps \
it with --external unix[INODE]. What it watches is in the checkpoint, which is matched by the inode. With --to-sockets, a \
CRIU that restores the images is to be given an emulator's sockets, with --inherit-fd fd[N]:socket:[INODE]. Everything \
else in the images stays as it is, byte for byte.";

/// `uinotify images`.
#[derive(Args)]
pub struct Arguments {
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What `uinotify images` can do.
#[derive(Subcommand)]
pub enum Command {
    /// Show the inotify instances in a directory of images, oldest watch first, wds in hexadecimal
    Show {
        /// The images of one dump
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Tell what CRIU would lose of each instance: one-shot, exclude-unlink, cursor, queue
    ///
    /// Images do not have cursor and queue; a checkpoint does. The exit status is 0 if nothing is lost, 3 if something is, and 1
    /// if uinotify failed.
    Lint {
        /// The images of one dump, or a checkpoint
        #[arg(value_name = "DIR|FILE")]
        path: PathBuf,
    },
    /// Make instances of the sockets that a program under uinotify was dumped with, or the other way round
    #[command(long_about = CONVERT)]
    Convert {
        /// The images of one dump, which are changed
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The checkpoint of the instances, - for standard input
        #[arg(long, value_name = "FILE", required_unless_present = "to_sockets")]
        checkpoint: Option<PathBuf>,
        /// Make sockets of instances
        #[arg(long, conflicts_with = "checkpoint")]
        to_sockets: bool,
        /// Where the checkpoint goes that has the sockets' inodes
        #[arg(short, long, value_name = "FILE", default_value = "-", requires = "to_sockets")]
        output: PathBuf,
    },
    /// Write what the images have of inotify as a checkpoint (JSON)
    ///
    /// The cursor is the one after a restore; owner, limits and queue are not in the images.
    Export {
        /// The images of one dump
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Where the checkpoint goes, - for standard output
        #[arg(short, long, value_name = "FILE", default_value = "-")]
        output: PathBuf,
    },
    /// Put the watches of a checkpoint into images
    ///
    /// An instance takes the place of the one with the same descriptor, or else the same number; everything else in the
    /// images stays as it is. In a directory without images new ones are made, with the instances alone. What CRIU would lose is
    /// told on standard error.
    Import {
        /// The images of one dump, which are changed
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The checkpoint, - for standard input
        #[arg(value_name = "FILE")]
        checkpoint: PathBuf,
        /// How new images are laid out
        #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Criu)]
        format: Format,
    },
}

/// A layout of CRIU's images.
#[derive(Clone, Copy, ValueEnum)]
pub enum Format {
    /// As today: in files.img
    Criu,
    /// As before CRIU 3.4: in inotify.img and inotify-wd.img
    CriuLegacy,
}

impl From<Format> for Layout {
    fn from(format: Format) -> Self {
        match format {
            Format::Criu => Self::Files,
            Format::CriuLegacy => Self::Legacy,
        }
    }
}

/// Does what was asked for; the exit status.
///
/// # Errors
/// Images or a checkpoint cannot be read or written, or do not belong together.
pub fn images(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Show { directory } => print(&show(&Directory::read(&directory)?)).map(|()| 0),
        Command::Lint { path } => lint(&path),
        Command::Convert { directory, checkpoint: Some(checkpoint), .. } => {
            convert(&directory, &checkpoint).map(|()| 0)
        }
        Command::Convert { directory, checkpoint: None, output, .. } => to_sockets(&directory, &output).map(|()| 0),
        Command::Export { directory, output } => {
            let checkpoint = Checkpoint::new(Profile::Native, 0, instances(&Directory::read(&directory)?)?);
            write_text(&output, &checkpoint.to_json()).map(|()| 0)
        }
        Command::Import { directory, checkpoint, format } => import(&directory, &checkpoint, format).map(|()| 0),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // The reader, such as `head`, has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

pub(crate) fn write_text(output: &Path, text: &str) -> anyhow::Result<()> {
    if output == Path::new("-") {
        return print(text);
    }
    fs::write(output, text).with_context(|| format!("cannot write {}", output.display()))
}

pub(crate) fn read_checkpoint(path: &Path) -> anyhow::Result<Checkpoint> {
    let mut text = Vec::new();
    let (name, read) = if path == Path::new("-") {
        ("standard input".into(), io::stdin().read_to_end(&mut text))
    } else {
        (path.display().to_string(), fs::File::open(path).and_then(|mut file| file.read_to_end(&mut text)))
    };
    read.with_context(|| format!("cannot read {name}"))?;
    Checkpoint::from_json(&text).map_err(|error| anyhow!("{name}: {error}"))
}

fn instances(directory: &Directory) -> anyhow::Result<Vec<Instance>> {
    let translate = |file: &InotifyFile| {
        criu::instance_of(file, directory.descriptors_of(file.id))
            .with_context(|| format!("{}: instance {:#x}", directory.path.display(), file.id))
    };
    directory.inotify.iter().map(translate).collect()
}

/// What is in the images.
fn show(directory: &Directory) -> String {
    let mut text = String::new();
    let layout = match directory.layout {
        Layout::Files => "files.img",
        Layout::Legacy => "inotify.img, the legacy layout",
    };
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}: {}", directory.path.display(), layout);
    for file in &directory.inotify {
        let watches = file.watches.len();
        let _ = writeln!(text, "instance {:#x}  flags 0{:o}  watches {watches}", file.id, file.flags);
        show_descriptors(&mut text, directory, file.id);
        for watch in file.watches.iter().rev() {
            let path = watch
                .handle
                .path
                .as_deref()
                .map_or("(path not known)".into(), |path| ByteString::from(path).to_string());
            let (wd, mask, inode, device) = (watch.wd, show_mask(watch.mask), watch.inode, watch.device);
            let _ = writeln!(text, "  wd {wd:#x}  {mask}  inode {inode:#x} sdev {device:#x}  {path}");
        }
    }
    for (socket, peer) in sockets_to_outside(directory) {
        let _ = writeln!(text, "socket {:#x}  inode {}  to a peer outside {}", socket.id, socket.inode, called(peer));
        show_descriptors(&mut text, directory, socket.id);
    }
    text
}

fn called(peer: &UnixSocket) -> String {
    match &peer.name[..] {
        [] => "without a name".to_owned(),
        [0, rest @ ..] => {
            let whose = if peer.name.starts_with(EMULATED) { ": an emulated instance" } else { "" };
            format!("named @{}{whose}", ByteString::from(rest))
        }
        name => format!("named {}", ByteString::from(name)),
    }
}

fn show_descriptors(text: &mut String, directory: &Directory, file: u32) {
    for descriptor in directory.descriptors.iter().filter(|descriptor| descriptor.file == file) {
        let pids: Vec<String> = descriptor.pids.iter().map(u32::to_string).collect();
        let _ = writeln!(text, "  fd {} of process {}", descriptor.fd, pids.join(", "));
    }
}

fn sockets_to_outside(directory: &Directory) -> impl Iterator<Item = (&UnixSocket, &UnixSocket)> {
    directory.sockets.iter().filter_map(|socket| {
        let peer = directory.sockets.iter().find(|peer| peer.external && peer.inode == socket.peer)?;
        Some((socket, peer))
    })
}

fn lint(path: &Path) -> anyhow::Result<u8> {
    let mut text = String::new();
    let instances = if path.is_dir() {
        let directory = Directory::read(path)?;
        for (socket, _) in sockets_to_outside(&directory).filter(|(_, peer)| peer.name.starts_with(EMULATED)) {
            let inode = socket.inode;
            let _ = writeln!(text, "socket {inode}: an emulated instance, not converted: all of it is lost");
        }
        if !directory.inotify.is_empty() {
            notice("the images have neither cursor nor queue: whether those are lost, a checkpoint can tell");
        }
        instances(&directory)?
    } else {
        read_checkpoint(path)?.instances
    };
    for instance in &instances {
        for loss in losses(instance) {
            let _ = writeln!(text, "instance {:#x}: {loss}", instance.id);
        }
    }
    print(&text)?;
    Ok(if text.is_empty() { 0 } else { EXIT_LOSSES })
}

pub(crate) fn convert(directory: &Path, checkpoint: &Path) -> anyhow::Result<()> {
    let checkpoint = read_checkpoint(checkpoint)?;
    let conversion = criu::to_inotify(directory, &checkpoint)?;
    for inode in &conversion.left {
        notice(format_args!("socket {inode} has its peer outside, and is left: the checkpoint does not have it"));
    }
    for id in &conversion.absent {
        let instance = checkpoint.instances.iter().find(|instance| instance.id == *id);
        let why = match instance.and_then(|instance| instance.socket_inode) {
            Some(inode) => format!("the images have no unix socket with its inode {inode}"),
            None => "the checkpoint does not say which socket it was".to_owned(),
        };
        notice(format_args!("instance {id:#x} is not converted: {why}"));
    }
    if conversion.converted.is_empty() {
        bail!("nothing in {} was converted", directory.display());
    }
    let mut text = String::new();
    for instance in checkpoint.instances.iter().filter(|instance| conversion.converted.contains(&instance.id)) {
        let _ = writeln!(text, "instance {:#x} converted, with {} watches", instance.id, instance.watches.len());
        tell_losses(instance);
    }
    print(&text)
}

fn tell_losses(instance: &Instance) {
    for loss in losses(instance) {
        notice(format_args!("instance {:#x}: {loss}", instance.id));
    }
}

fn to_sockets(directory: &Path, output: &Path) -> anyhow::Result<()> {
    let before = Directory::read(directory)?;
    if before.inotify.is_empty() {
        bail!("{} has no inotify instance", directory.display());
    }
    write_text(output, &criu::to_sockets(directory)?.to_json())
}

fn import(directory: &Path, checkpoint: &Path, format: Format) -> anyhow::Result<()> {
    let checkpoint = read_checkpoint(checkpoint)?;
    match Directory::read(directory) {
        Ok(images) => {
            let files = checkpoint.instances.iter().map(|instance| in_place(&images, instance));
            images.replace(&files.collect::<anyhow::Result<Vec<_>>>()?)?;
        }
        Err(DirectoryError::NoImages(_)) => {
            let files = checkpoint.instances.iter().map(|instance| {
                u32::try_from(instance.id)
                    .map_err(|_| criu::TranslateError::Id(instance.id))
                    .and_then(|id| criu::watches_of(instance, id))
                    .with_context(|| format!("instance {:#x}", instance.id))
            });
            let files = files.collect::<anyhow::Result<Vec<_>>>()?;
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
            Directory::create(directory, format.into(), &files)?;
        }
        Err(error) => return Err(error.into()),
    }
    checkpoint.instances.iter().for_each(tell_losses);
    Ok(())
}

/// The entry of the images that an instance takes the place of, with its watches.
fn in_place(images: &Directory, instance: &Instance) -> anyhow::Result<InotifyFile> {
    let file = images.file_of(instance).ok_or_else(|| {
        anyhow!(
            "{} has no instance with a descriptor or the number of instance {:#x}",
            images.path.display(),
            instance.id
        )
    })?;
    criu::updated(file, instance).with_context(|| format!("instance {:#x}", instance.id))
}
