//! Inodes, and the names in use for them: the kernel's dentries, with as much of their life as hooks depend on.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use uinotify_core::{Entry, Kind, Object, ObjectId, Subject};

/// What an inode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    Directory,
    File,
    /// With its text.
    Symlink(String),
    Fifo,
}

/// An inode. Contents are not kept: nobody compares them.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) form: Form,
    /// Permissions, without the type.
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
    /// A directory has one until it is removed.
    pub(super) links: u32,
    pub(super) bytes: u64,
    /// Has `user.conform`.
    pub(super) attribute: bool,
    /// An O_TMPFILE file that was not linked yet.
    pub(super) linkable: bool,
    /// Can be executed.
    pub(super) program: bool,
    /// Which file system it is in.
    pub(super) volume: u32,
    /// The pages of a FIFO: the bytes used so far, and those read of them.
    pub(super) pages: VecDeque<(u64, u64)>,
}

impl Inode {
    pub(super) fn new(form: Form, mode: u32, user: u32, volume: u32) -> Self {
        Self {
            form,
            mode,
            user,
            group: user,
            links: 1,
            bytes: 0,
            attribute: false,
            linkable: false,
            program: false,
            volume,
            pages: VecDeque::new(),
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        self.form == Form::Directory
    }

    fn kind(&self) -> Kind {
        match self.form {
            Form::Directory => Kind::Directory,
            Form::File | Form::Symlink(_) => Kind::File,
            Form::Fifo => Kind::Special,
        }
    }
}

/// The number of an inode.
pub(super) type InodeId = u64;
/// A name in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Dentry(u64);

#[derive(Debug, Clone)]
struct Name {
    inode: InodeId,
    parent: Option<Dentry>,
    text: Vec<u8>,
    /// In its directory. An unhashed one lives for as long as somebody holds it.
    hashed: bool,
    /// Open files, working directories, mounts, and the names under it.
    holders: u32,
}

/// All inodes that were ever made, and all names in use.
#[derive(Debug, Default)]
pub(super) struct Tree {
    inodes: BTreeMap<InodeId, Inode>,
    names: BTreeMap<Dentry, Name>,
    children: BTreeMap<(Dentry, Vec<u8>), Dentry>,
    next: u64,
}

impl Tree {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn name(&self, dentry: Dentry) -> &Name {
        &self.names[&dentry]
    }

    fn name_mut(&mut self, dentry: Dentry) -> &mut Name {
        self.names.get_mut(&dentry).expect("a name in use")
    }

    fn put(&mut self, inode: InodeId, parent: Option<Dentry>, text: Vec<u8>, hashed: bool) -> Dentry {
        let dentry = Dentry(self.number());
        if let Some(parent) = parent {
            self.hold(parent);
            if hashed {
                self.children.insert((parent, text.clone()), dentry);
            }
        }
        self.names.insert(dentry, Name { inode, parent, text, hashed, holders: 0 });
        dentry
    }

    /// A number for what is no inode of this tree.
    pub(super) fn foreign(&mut self) -> ObjectId {
        ObjectId(self.number())
    }

    /// The root of a file system, held by its mount.
    pub(super) fn root(&mut self, inode: Inode) -> Dentry {
        let number = self.number();
        self.inodes.insert(number, inode);
        let dentry = self.put(number, None, Vec::new(), true);
        self.hold(dentry);
        dentry
    }

    /// A new inode with its name.
    pub(super) fn make(&mut self, parent: Dentry, text: &[u8], inode: Inode) -> Dentry {
        let number = self.number();
        self.inodes.insert(number, inode);
        self.put(number, Some(parent), text.to_vec(), true)
    }

    /// An O_TMPFILE file: its name was never in the directory.
    pub(super) fn make_unnamed(&mut self, parent: Dentry, inode: Inode) -> Dentry {
        let number = self.number();
        self.inodes.insert(number, Inode { links: 0, linkable: true, ..inode });
        self.put(number, Some(parent), format!("#{number}").into_bytes(), false)
    }

    /// Another name of an inode.
    pub(super) fn link(&mut self, parent: Dentry, text: &[u8], inode: InodeId) -> Dentry {
        self.put(inode, Some(parent), text.to_vec(), true)
    }

    pub(super) fn child(&self, parent: Dentry, text: &[u8]) -> Option<Dentry> {
        self.children.get(&(parent, text.to_vec())).copied()
    }

    pub(super) fn is_empty(&self, directory: Dentry) -> bool {
        let from = (Bound::Included((directory, Vec::new())), Bound::Unbounded);
        self.children.range(from).next().is_none_or(|((parent, _), _)| *parent != directory)
    }

    pub(super) fn parent(&self, dentry: Dentry) -> Option<Dentry> {
        self.name(dentry).parent
    }

    pub(super) fn inode_of(&self, dentry: Dentry) -> InodeId {
        self.name(dentry).inode
    }

    pub(super) fn inode(&self, dentry: Dentry) -> &Inode {
        &self.inodes[&self.inode_of(dentry)]
    }

    pub(super) fn inode_mut(&mut self, dentry: Dentry) -> &mut Inode {
        let number = self.inode_of(dentry);
        self.inodes.get_mut(&number).expect("an inode that was made")
    }

    /// The inodes of a file system, newest first.
    pub(super) fn objects_of_volume(&self, volume: u32) -> Vec<Object> {
        let numbers = self.inodes.iter().rev().filter(|(_, inode)| inode.volume == volume);
        numbers.map(|(&number, inode)| Object { id: ObjectId(number), kind: inode.kind() }).collect()
    }

    pub(super) fn object(&self, dentry: Dentry) -> Object {
        Object { id: ObjectId(self.inode_of(dentry)), kind: self.inode(dentry).kind() }
    }

    pub(super) fn entry(&self, dentry: Dentry) -> Option<Entry<'_>> {
        let Name { parent, text, .. } = self.name(dentry);
        parent.map(|parent| Entry { directory: ObjectId(self.inode_of(parent)), name: text })
    }

    pub(super) fn subject(&self, dentry: Dentry) -> Subject<'_> {
        Subject { object: self.object(dentry), entry: self.entry(dentry), unlinked: !self.name(dentry).hashed }
    }

    /// Whether `above` is `below` or on its way up.
    pub(super) fn contains(&self, above: Dentry, below: Dentry) -> bool {
        std::iter::successors(Some(below), |&dentry| self.parent(dentry)).any(|dentry| dentry == above)
    }

    pub(super) fn hold(&mut self, dentry: Dentry) {
        self.name_mut(dentry).holders += 1;
    }

    /// Gives what is deleted by that, in order.
    pub(super) fn release(&mut self, dentry: Dentry) -> Vec<Object> {
        self.name_mut(dentry).holders -= 1;
        self.end_unused(dentry)
    }

    /// `__dentry_kill`: the object first, then the directory that was held by its name.
    fn end_unused(&mut self, dentry: Dentry) -> Vec<Object> {
        let name = self.name(dentry);
        if name.hashed || name.holders > 0 {
            return Vec::new();
        }
        let parent = name.parent;
        // `dentry_unlink_inode`: whatever other names of the object are still held.
        let mut gone: Vec<Object> = (self.inode(dentry).links == 0).then(|| self.object(dentry)).into_iter().collect();
        self.names.remove(&dentry);
        if let Some(parent) = parent {
            gone.extend(self.release(parent));
        }
        gone
    }

    /// Takes the name out of its directory. It ends with [`Tree::settle`] or when it is released.
    pub(super) fn unhash(&mut self, dentry: Dentry) {
        let name = self.name_mut(dentry);
        name.hashed = false;
        if let Some(parent) = name.parent {
            let key = (parent, name.text.clone());
            self.children.remove(&key);
        }
    }

    /// Ends a name that was taken out, if nobody holds it. Gives what is deleted by that.
    pub(super) fn settle(&mut self, dentry: Dentry) -> Vec<Object> {
        self.end_unused(dentry)
    }

    /// Where nothing of that name is.
    pub(super) fn rename(&mut self, dentry: Dentry, parent: Dentry, text: &[u8]) {
        self.unhash(dentry);
        self.hold(parent);
        let name = self.name_mut(dentry);
        let old = name.parent.replace(parent);
        name.text = text.to_vec();
        name.hashed = true;
        self.children.insert((parent, text.to_vec()), dentry);
        if let Some(old) = old {
            // A directory with entries is in the tree: nothing ends here.
            self.name_mut(old).holders -= 1;
        }
    }

    pub(super) fn exchange(&mut self, one: Dentry, other: Dentry) {
        let place = |name: &Name| (name.parent, name.text.clone());
        let (first, second) = (place(self.name(one)), place(self.name(other)));
        for (dentry, (parent, text)) in [(one, second), (other, first)] {
            let name = self.name_mut(dentry);
            (name.parent, name.text) = (parent, text.clone());
            if let Some(parent) = parent {
                self.children.insert((parent, text), dentry);
            }
        }
    }
}
