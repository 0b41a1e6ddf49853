//! CRIU's images: what they keep of inotify, read and written.
//!
//! Two layouts: since CRIU 3.4 an instance is an entry of `files.img` with its watches inside; before, it was one of `inotify.img`, and
//! the watches of all instances stood in `inotify-wd.img`. The messages are those of CRIU's images/*.proto.
//!
//! Nothing is believed: lengths are checked against what is there before anything is made for them, and an error says where in which
//! file. What is not ours is copied byte for byte, fields of later versions too.

mod convert;
mod directory;
mod entry;
mod error;
mod fields;
mod frame;
mod inotify;
mod legacy;
mod message;
mod translate;

pub use convert::{Conversion, ConvertError, to_inotify, to_sockets};
pub use directory::{Directory, FileDescriptor, Layout};
pub use entry::{FileEntry, UnixSocket};
pub use error::{DirectoryError, ImageError, Problem};
pub use frame::{ENTRY_BYTES_MAX, Entry, ImageReader, ImageWriter, Kind};
pub use inotify::{Handle, InotifyFile, InotifyWatch};
pub use legacy::{read_legacy, write_legacy};
pub use message::SignalOwnerMessage;
pub use translate::{TranslateError, instance_of, updated, watches_of};
