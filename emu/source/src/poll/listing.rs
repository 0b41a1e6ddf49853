//! What is in a directory, and how that compares with what was in it.

use std::ffi::CStr;

use uinotify_core::Kind;

use super::look::{Identity, Look};

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Box<CStr>,
    /// As the directory lists it, which on some file systems is not what the object itself says.
    pub(super) listed_inode: u64,
    pub(super) kind: Kind,
    /// The object itself, where that can be looked at.
    pub(super) look: Option<Look>,
}

impl Entry {
    pub(super) fn identity(&self) -> Identity {
        let unknown = Identity { inode: self.listed_inode, ..Identity::default() };
        self.look.map_or(unknown, |look| look.identity)
    }
}

/// What a directory lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: Box<CStr>,
    pub(super) inode: u64,
    /// Where the file system tells.
    pub(super) kind: Option<Kind>,
}

/// The entries, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing(pub(super) Vec<Entry>);

/// How a listing differs from the one before. Places are those in the new one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// Names that are no more.
    pub(super) gone: Vec<Entry>,
    /// Names that were not there, of which nothing is known yet but what the directory tells.
    pub(super) new: Vec<usize>,
    /// The same names for another number; each with what was there before. The object may be the same all the same.
    pub(super) doubtful: Vec<(usize, Entry)>,
}

impl Listing {
    /// Takes on what the directory lists now. Entries that are still there keep what is known of them.
    pub(super) fn update(&mut self, mut found: Vec<Found>) -> Compared {
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        // One that was renamed while the directory was read may be listed twice.
        found.dedup_by(|a, b| a.name == b.name);
        let mut compared = Compared::default();
        let mut before = std::mem::take(&mut self.0).into_iter().peekable();
        self.0.reserve_exact(found.len());
        for Found { name, inode, kind } in &found {
            while let Some(gone) = before.next_if(|entry| entry.name < *name) {
                compared.gone.push(gone);
            }
            let place = self.0.len();
            let entry = match before.next_if(|entry| entry.name == *name) {
                Some(entry) if entry.listed_inode == *inode => entry,
                known => {
                    match known {
                        Some(entry) => compared.doubtful.push((place, entry)),
                        None => compared.new.push(place),
                    }
                    // Made anew, so that names that are looked up one behind the other lie so too.
                    Entry { name: name.clone(), listed_inode: *inode, kind: kind.unwrap_or(Kind::File), look: None }
                }
            };
            self.0.push(entry);
        }
        compared.gone.extend(before);
        compared
    }

    /// What stands under a name.
    pub(super) fn get(&self, name: &CStr) -> Option<&Entry> {
        self.0.get(self.find(name)?)
    }

    pub(super) fn get_mut(&mut self, name: &CStr) -> Option<&mut Entry> {
        let at = self.find(name)?;
        self.0.get_mut(at)
    }

    fn find(&self, name: &CStr) -> Option<usize> {
        self.0.binary_search_by(|entry| (*entry.name).cmp(name)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    fn found(names: &[(&str, u64)]) -> Vec<Found> {
        let found = |(name, inode): &(&str, u64)| {
            let name = CString::new(*name).expect("no NUL").into_boxed_c_str();
            Found { name, inode: *inode, kind: None }
        };
        names.iter().map(found).collect()
    }

    fn names(entries: &[Entry]) -> Vec<String> {
        entries.iter().map(|entry| entry.name.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn names_come_go_stay_and_change_hands() {
        let mut listing = Listing::default();
        let compared = listing.update(found(&[("c", 3), ("a", 1), ("b", 2), ("b", 2)]));
        assert_eq!((names(&listing.0), compared.new.len()), (vec!["a".into(), "b".into(), "c".into()], 3));
        listing.0[0].look = Some(Look { size: 7, ..Look::default() });

        let compared = listing.update(found(&[("d", 4), ("a", 1), ("c", 9)]));
        assert_eq!(names(&listing.0), ["a", "c", "d"]);
        assert_eq!(names(&compared.gone), ["b"]);
        assert_eq!(compared.new, [2]);
        assert_eq!(compared.doubtful.len(), 1);
        assert_eq!((compared.doubtful[0].0, compared.doubtful[0].1.listed_inode), (1, 3));
        assert_eq!(listing.get(c"a").and_then(|entry| entry.look).map(|look| look.size), Some(7));
        assert_eq!(listing.get(c"b"), None);

        let compared = listing.update(Vec::new());
        assert_eq!(names(&compared.gone), ["a", "c", "d"]);
        assert!(listing.0.is_empty());
    }
}
