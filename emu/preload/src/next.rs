//! The functions behind ours: the next object's, in the order in which the dynamic linker searches.
//!
//! They are found by walking the loaded objects' own tables. `dlsym` may allocate and lock, `dlvsym` is missing in musl, and
//! either would be the interposed one.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use crate::errno;

/// A name that is sought, with its hash.
#[derive(Clone, Copy)]
struct Name {
    bytes: &'static [u8],
    gnu_hash: u32,
}

impl Name {
    const fn new(bytes: &'static [u8]) -> Self {
        Self { bytes, gnu_hash: gnu_hash(bytes) }
    }
}

const fn gnu_hash(name: &[u8]) -> u32 {
    let mut hash = 5381u32;
    let mut rest = name;
    while let [first, behind @ ..] = rest {
        hash = hash.wrapping_mul(33).wrapping_add(*first as u32);
        rest = behind;
    }
    hash
}

/// Declares the table of functions, and the names under which they are sought.
macro_rules! functions {
    ($($name:ident),* $(,)?) => {
        /// Addresses of the next functions; 0 for one that was not found, or before the constructor.
        #[allow(missing_docs, non_snake_case, reason = "the names are the C functions'")]
        pub struct Functions {
            $(pub $name: AtomicUsize,)*
        }

        /// The one table.
        pub static NEXT: Functions = Functions { $($name: AtomicUsize::new(0),)* };

        impl Functions {
            fn entries(&self) -> [Entry<'_>; const { [$(stringify!($name)),*].len() }] {
                [$((const { Name::new(stringify!($name).as_bytes()) }, &self.$name)),*]
            }
        }
    };
}

functions! {
    inotify_init, inotify_init1, inotify_add_watch, inotify_rm_watch, ioctl, read, __read_chk, readv, write, close, dup, dup2,
    dup3, fcntl, fcntl64, recv, recvmsg, recvmmsg, poll, __poll_chk, ppoll, __ppoll_chk, select, pselect, epoll_ctl, epoll_wait,
    epoll_pwait, epoll_pwait2, recvfrom, getsockopt, setsockopt, shutdown, fchmod, fallocate, fallocate64, lseek, lseek64, splice,
    sendfile, send, sendto, sendmsg, getsockname, getpeername, writev, sendmmsg, listen, bind, accept, accept4, connect, tee,
    preadv2, preadv64v2, pwritev2, pwritev64v2, close_range, closefrom, __chk_fail,
    fstat, fstat64, __fxstat, __fxstat64, fstatfs, fstatfs64, fstatvfs, fstatvfs64, fpathconf, fchown, futimens, futimes, fgetxattr,
    fsetxattr, flistxattr, fremovexattr, fsync, fdatasync, syncfs, sync_file_range, readahead, ftruncate, ftruncate64, posix_fadvise,
    posix_fadvise64, posix_fallocate, posix_fallocate64, lockf, lockf64, mmap, mmap64,
    syscall, dlsym, dlvsym,
    copy_file_range, name_to_handle_at, bindresvport, isfdtype, sockatmark, getsourcefilter, setsourcefilter,
    getipv4sourcefilter, setipv4sourcefilter, __recv_chk, __recvfrom_chk, eventfd_read, eventfd_write, fdopen,
    // Paths.
    open, open64, __open, __open64, __open_2, __open64_2, openat, openat64, __openat_2, __openat64_2, creat, creat64, fopen,
    fopen64, _IO_fopen, freopen, freopen64, fileno, fclose, readlink, readlinkat, __readlink_chk, __readlinkat_chk, stat, stat64,
    __xstat, __xstat64, lstat, lstat64, __lxstat, __lxstat64, fstatat, fstatat64, __fxstatat, __fxstatat64, statx, access, eaccess,
    euidaccess, faccessat, chmod, fchmodat, chown, fchownat, utime, utimes, utimensat, futimesat, getxattr, listxattr, setxattr,
    removexattr, statfs, statfs64, __statfs, statvfs, statvfs64,
}

/// Address of a function, or `None`.
#[inline]
pub fn address(entry: &AtomicUsize) -> Option<usize> {
    let address = entry.load(Ordering::Relaxed);
    (address != 0).then_some(address)
}

/// `Elf64_Phdr`.
#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    physical_address: u64,
    file_size: u64,
    memory_size: u64,
    alignment: u64,
}

/// The beginning of `struct dl_phdr_info`, the same in glibc and musl.
#[repr(C)]
struct LoadedObject {
    base: usize,
    name: *const c_char,
    headers: *const ProgramHeader,
    header_count: u16,
}

/// `Elf64_Dyn`.
#[repr(C)]
struct DynamicEntry {
    tag: i64,
    value: u64,
}

/// `Elf64_Sym`.
#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    size: u64,
}

unsafe extern "C" {
    fn dl_iterate_phdr(
        callback: unsafe extern "C" fn(*const LoadedObject, usize, *mut c_void) -> c_int,
        data: *mut c_void,
    ) -> c_int;
}

/// The name under which this library was loaded; null before the constructor.
static OWN_NAME: AtomicPtr<c_char> = AtomicPtr::new(core::ptr::null_mut());

/// The path of this library, as the dynamic linker found it.
pub fn own_path() -> Option<&'static CStr> {
    let name = OWN_NAME.load(Ordering::Relaxed);
    // SAFETY: the name is the dynamic linker's, which keeps it with the object; this one is never unloaded while it runs.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) })
}

/// The beginning and the end of libc in memory.
static LIBC: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// A name that is sought, and where what is found goes.
type Entry<'a> = (Name, &'a AtomicUsize);

/// A walk over the loaded objects, in the order in which the dynamic linker searches them.
struct Walk<'a> {
    entries: &'a [Entry<'a>],
    is_behind_us: bool,
    /// Functions that only programs of earlier days find, by the version with which they were linked.
    accepts_hidden: bool,
}

/// Fills the table, once.
pub fn initialise() {
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if !IS_DONE.load(Ordering::Relaxed) && !IS_DONE.swap(true, Ordering::Relaxed) {
        seek(&NEXT.entries());
    }
}

/// A function that may be wanted before the constructor.
pub fn found(entry: &AtomicUsize) -> Option<usize> {
    address(entry).or_else(|| {
        initialise();
        address(entry)
    })
}

/// A function that may also come with an object that is loaded later.
pub fn sought(entry: &AtomicUsize) -> Option<usize> {
    address(entry).or_else(|| {
        let entries = NEXT.entries();
        let wanted = entries.iter().find(|(_, other)| core::ptr::eq(*other, entry));
        seek(wanted.map_or(&[], core::slice::from_ref));
        address(entry)
    })
}

fn seek(entries: &[Entry<'_>]) {
    for accepts_hidden in [false, true] {
        let mut walk = Walk { entries, is_behind_us: false, accepts_hidden };
        // SAFETY: `visit` keeps to the contract of the call; `walk` lives through it.
        unsafe { dl_iterate_phdr(visit, (&raw mut walk).cast()) };
    }
}

unsafe extern "C" fn visit(object: *const LoadedObject, _size: usize, data: *mut c_void) -> c_int {
    // SAFETY: the dynamic linker gives a valid object for the length of the callback.
    let object = unsafe { &*object };
    // SAFETY: `data` is the walk that `seek` passed, and nobody else has it.
    let walk = unsafe { &mut *data.cast::<Walk<'_>>() };
    if !walk.is_behind_us {
        walk.is_behind_us = holds(object, initialise as fn() as usize);
        if walk.is_behind_us {
            OWN_NAME.store(object.name.cast_mut(), Ordering::Relaxed);
        }
        return 0;
    }
    if holds(object, errno::location()) {
        let (start, end) = span(object);
        LIBC[0].store(start, Ordering::Relaxed);
        LIBC[1].store(end, Ordering::Relaxed);
    }
    // SAFETY: the object is loaded and relocated.
    if let Some(tables) = unsafe { Tables::of(object) } {
        for (name, entry) in walk.entries {
            if entry.load(Ordering::Relaxed) == 0
                // SAFETY: as above.
                && let Some(found) = unsafe { tables.find(name.bytes, name.gnu_hash, walk.accepts_hidden) }
            {
                entry.store(found, Ordering::Relaxed);
            }
        }
    }
    0
}

/// Is this the address of a function that stands behind one of ours, or of any of libc's?
pub fn is_behind_ours(function: usize) -> bool {
    let [start, end] = [&LIBC[0], &LIBC[1]].map(|address| address.load(Ordering::Relaxed));
    (start..end).contains(&function)
        || NEXT.entries().iter().any(|(_, entry)| entry.load(Ordering::Relaxed) == function)
}

/// Our own function of this name.
pub fn own(name: &[u8]) -> Option<usize> {
    struct Search<'a> {
        name: &'a [u8],
        found: Option<usize>,
    }
    unsafe extern "C" fn visit(object: *const LoadedObject, _size: usize, data: *mut c_void) -> c_int {
        // SAFETY: the dynamic linker gives a valid object for the length of the callback.
        let object = unsafe { &*object };
        if !holds(object, initialise as fn() as usize) {
            return 0;
        }
        // SAFETY: `data` is the search below, and nobody else has it.
        let search = unsafe { &mut *data.cast::<Search<'_>>() };
        // SAFETY: the object is loaded and relocated.
        if let Some(tables) = unsafe { Tables::of(object) } {
            // SAFETY: as above.
            search.found = unsafe { tables.find(search.name, gnu_hash(search.name), false) };
        }
        1
    }
    let mut search = Search { name, found: None };
    // SAFETY: `visit` keeps to the contract of the call; `search` lives through it.
    unsafe { dl_iterate_phdr(visit, (&raw mut search).cast()) };
    search.found
}

fn headers(object: &LoadedObject) -> &[ProgramHeader] {
    if object.headers.is_null() {
        return &[];
    }
    // SAFETY: the dynamic linker describes the object's own program headers, which stay mapped with it.
    unsafe { core::slice::from_raw_parts(object.headers, object.header_count as usize) }
}

fn segments(object: &LoadedObject) -> impl Iterator<Item = (usize, usize)> + '_ {
    const PT_LOAD: u32 = 1;
    headers(object).iter().filter(|header| header.kind == PT_LOAD).map(|header| {
        let start = object.base.wrapping_add(header.address as usize);
        (start, start.wrapping_add(header.memory_size as usize))
    })
}

fn holds(object: &LoadedObject, address: usize) -> bool {
    segments(object).any(|(start, end)| (start..end).contains(&address))
}

/// From the beginning of the first segment to the end of the last.
fn span(object: &LoadedObject) -> (usize, usize) {
    segments(object).fold((usize::MAX, 0), |(first, last), (start, end)| (first.min(start), last.max(end)))
}

/// An object's dynamic symbols.
struct Tables {
    base: usize,
    symbols: *const Symbol,
    strings: *const u8,
    versions: *const u16,
    gnu_hash: *const u32,
    hash: *const u32,
}

impl Tables {
    /// # Safety
    ///
    /// The object must be loaded.
    unsafe fn of(object: &LoadedObject) -> Option<Self> {
        const PT_DYNAMIC: u32 = 2;
        let dynamic = headers(object).iter().find(|header| header.kind == PT_DYNAMIC)?;
        let mut entry = object.base.wrapping_add(dynamic.address as usize) as *const DynamicEntry;
        let (mut symbols, mut strings, mut versions, mut gnu_hash, mut hash) = (0, 0, 0, 0, 0);
        loop {
            // SAFETY: the dynamic section ends with a null tag, before which every entry is mapped.
            let DynamicEntry { tag, value } = unsafe { entry.read() };
            let mut address = value as usize;
            // glibc has added the base to the addresses in place; musl, and the vDSO, have not.
            if address < object.base {
                address = address.wrapping_add(object.base);
            }
            match tag {
                0 => break,
                4 => hash = address,
                5 => strings = address,
                6 => symbols = address,
                0x6fff_fef5 => gnu_hash = address,
                0x6fff_fff0 => versions = address,
                _ => {}
            }
            entry = entry.wrapping_add(1);
        }
        if symbols == 0 || strings == 0 {
            return None;
        }
        Some(Self {
            base: object.base,
            symbols: symbols as *const Symbol,
            strings: strings as *const u8,
            versions: versions as *const u16,
            gnu_hash: gnu_hash as *const u32,
            hash: hash as *const u32,
        })
    }

    /// # Safety
    ///
    /// The object must be loaded.
    unsafe fn find(&self, name: &[u8], gnu_hash: u32, accepts_hidden: bool) -> Option<usize> {
        if !self.gnu_hash.is_null() {
            // SAFETY: the table belongs to a loaded object.
            return unsafe { self.find_by_gnu_hash(name, gnu_hash, accepts_hidden) };
        }
        if !self.hash.is_null() {
            // SAFETY: the table belongs to a loaded object.
            return unsafe { self.find_by_hash(name, accepts_hidden) };
        }
        None
    }

    /// # Safety
    ///
    /// `gnu_hash` must be the object's DT_GNU_HASH.
    unsafe fn find_by_gnu_hash(&self, name: &[u8], wanted: u32, accepts_hidden: bool) -> Option<usize> {
        // SAFETY: the table begins with four words.
        let word = |index: usize| unsafe { self.gnu_hash.wrapping_add(index).read() };
        let (bucket_count, first_symbol, bloom_count) = (word(0) as usize, word(1) as usize, word(2) as usize);
        if bucket_count == 0 {
            return None;
        }
        // The Bloom filter, whose words are 64 bits wide and as many as a power of two, tells of nearly every name that is missing.
        let buckets = 4 + 2 * bloom_count;
        if bloom_count.is_power_of_two() {
            let index = 4 + 2 * ((wanted as usize / 64) & (bloom_count - 1));
            let bits = u64::from(word(index)) | u64::from(word(index + 1)) << 32;
            let is_set = |hash: u32| bits >> (hash % 64) & 1 != 0;
            if !is_set(wanted) || !is_set(wanted.checked_shr(word(3)).unwrap_or(0)) {
                return None;
            }
        }
        let mut index = word(buckets + wanted as usize % bucket_count) as usize;
        if index < first_symbol {
            return None;
        }
        loop {
            let hash = word(buckets + bucket_count + index - first_symbol);
            if hash | 1 == wanted | 1
                // SAFETY: the chain holds indexes of the symbol table.
                && let Some(found) = unsafe { self.symbol(index, name, accepts_hidden) }
            {
                return Some(found);
            }
            if hash & 1 != 0 {
                return None;
            }
            index += 1;
        }
    }

    /// # Safety
    ///
    /// `hash` must be the object's DT_HASH.
    unsafe fn find_by_hash(&self, name: &[u8], accepts_hidden: bool) -> Option<usize> {
        let wanted = name.iter().fold(0u32, |hash, &byte| {
            let hash = (hash << 4).wrapping_add(u32::from(byte));
            let high = hash & 0xf000_0000;
            (hash ^ (high >> 24)) & !high
        });
        // SAFETY: the table holds its two counts, the buckets and the chains.
        let word = |index: usize| unsafe { self.hash.wrapping_add(index).read() };
        let bucket_count = word(0) as usize;
        if bucket_count == 0 {
            return None;
        }
        let mut index = word(2 + wanted as usize % bucket_count) as usize;
        while index != 0 {
            // SAFETY: the chain holds indexes of the symbol table.
            if let Some(found) = unsafe { self.symbol(index, name, accepts_hidden) } {
                return Some(found);
            }
            index = word(2 + bucket_count + index) as usize;
        }
        None
    }

    /// The address of symbol `index` if it is the function `name`, in its default version or, if that is accepted, an older one.
    ///
    /// # Safety
    ///
    /// `index` must be in the symbol table.
    unsafe fn symbol(&self, index: usize, name: &[u8], accepts_hidden: bool) -> Option<usize> {
        const NOTYPE: u8 = 0;
        const FUNCTION: u8 = 2;
        const HIDDEN: u16 = 0x8000;
        // SAFETY: by this function's contract.
        let symbol = unsafe { &*self.symbols.wrapping_add(index) };
        let kind = symbol.info & 0xf;
        if symbol.section == 0 || symbol.value == 0 || (kind != FUNCTION && kind != NOTYPE) {
            return None;
        }
        for (offset, &byte) in name.iter().chain(&[0]).enumerate() {
            // SAFETY: the names are zero-terminated, and the walk ends at the first difference.
            if unsafe { self.strings.wrapping_add(symbol.name as usize + offset).read() } != byte {
                return None;
            }
        }
        if !accepts_hidden && !self.versions.is_null() {
            // SAFETY: the table of versions is as long as the table of symbols.
            let version = unsafe { self.versions.wrapping_add(index).read() };
            if version & HIDDEN != 0 {
                return None;
            }
        }
        Some(self.base.wrapping_add(symbol.value as usize))
    }
}
