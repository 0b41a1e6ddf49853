//! What has no counterpart in the other format is refused, and what the other format does not know is kept.

use uinotify_images::checkpoint::{FileHandle, Instance, Queue, Watch};
use uinotify_images::criu::{
    Handle, InotifyFile, InotifyWatch, SignalOwnerMessage, TranslateError, instance_of, updated, watches_of,
};
use uinotify_images::text::{ByteString, Device};

fn instance(edit: impl Fn(&mut Watch)) -> Instance {
    let mut watch = Watch {
        wd: 5,
        mask: 0x100,
        path: Some(ByteString::from(&b"/x"[..])),
        device: Device { major: 8, minor: 1 },
        inode: 9,
        generation: None,
        handle: Some(FileHandle { kind: 1, bytes: vec![1, 2, 3] }),
        mount_id: None,
    };
    edit(&mut watch);
    Instance {
        id: 1,
        owner: None,
        socket_inode: None,
        descriptors: Vec::new(),
        flags: 0o4000,
        signal_owner: None,
        cursor: 6,
        limits: None,
        watches: vec![watch],
        queue: Queue::default(),
    }
}

fn to_image(edit: impl Fn(&mut Watch)) -> Result<InotifyFile, TranslateError> {
    watches_of(&instance(edit), 4)
}

/// As it stands in an image, changed.
fn from_image(edit: impl Fn(&mut InotifyWatch)) -> Result<Instance, TranslateError> {
    let mut file = to_image(|_| ()).unwrap();
    edit(&mut file.watches[0]);
    instance_of(&file, Vec::new())
}

#[test]
fn what_criu_could_not_restore_is_refused() {
    assert_eq!(to_image(|watch| watch.path = None).map(|_| ()), Ok(()));
    assert_eq!(to_image(|watch| watch.handle = None).map(|_| ()), Ok(()));
    let nowhere = |watch: &mut Watch| (watch.path, watch.handle) = (None, None);
    assert_eq!(to_image(nowhere), Err(TranslateError::Lost(5)));
    for wd in [0, -1, i32::MIN] {
        assert_eq!(to_image(|watch| watch.wd = wd), Err(TranslateError::Wd(wd.cast_unsigned())));
    }
    let device = Device { major: 5000, minor: 0 };
    assert_eq!(to_image(|watch| watch.device = device), Err(TranslateError::Device(5, device)));
    let handle = |length: usize| FileHandle { kind: 1, bytes: vec![0xff; length] };
    assert_eq!(to_image(|watch| watch.handle = Some(handle(128))).unwrap().watches[0].handle.words, [u64::MAX; 16]);
    assert_eq!(to_image(|watch| watch.handle = Some(handle(129))), Err(TranslateError::Handle(5, 129)));
}

#[test]
fn what_no_instance_can_be_is_refused() {
    assert_eq!(from_image(|_| ()), Ok(Instance { id: 4, ..instance(|_| ()) }));
    for wd in [0, 0x8000_0000, u32::MAX] {
        assert_eq!(from_image(|watch| watch.wd = wd), Err(TranslateError::Wd(wd)));
    }
    assert_eq!(from_image(|watch| watch.handle.path = Some(b"/a\0b".to_vec())), Err(TranslateError::Path(5)));
    // More bytes than there are, and than there can be.
    assert_eq!(from_image(|watch| watch.handle.bytes = 129), Err(TranslateError::Handle(5, 129)));
    let long = |watch: &mut InotifyWatch| (watch.handle.bytes, watch.handle.words) = (136, vec![0; 17]);
    assert_eq!(from_image(long), Err(TranslateError::Handle(5, 136)));
    let short = |bytes| from_image(move |watch| (watch.handle.bytes, watch.handle.words) = (bytes, vec![7]));
    assert_eq!(short(8).unwrap().watches[0].handle.as_ref().unwrap().bytes, [7, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(short(9), Err(TranslateError::Handle(5, 9)));
    // A kernel before 4.3 shows a bit of its own.
    assert_eq!(from_image(|watch| watch.mask = 0x8c00_e100).unwrap().watches[0].mask, 0x8400_0100);
    assert_eq!(from_image(|watch| watch.handle = Handle::default()).unwrap().watches[0].handle, None);
}

#[test]
fn an_update_keeps_what_is_not_known() {
    let later = [0x98, 6, 7];
    let mut file = InotifyFile::new(4, 0o4000, SignalOwnerMessage { pid: 12, ..Default::default() });
    file.watches = to_image(|_| ()).unwrap().watches;
    let mut watch = InotifyWatch::parse(&[&file.watches[0].encode()[..], &later].concat(), 0).unwrap();
    watch.id = 4;
    file.watches = vec![watch];
    let file = InotifyFile::parse(&[&file.encode()[..], &later].concat(), 0).unwrap();
    // The watch of wd 5 with another mask, and a new one.
    let mut changed = Instance { signal_owner: Some((&file.owner).into()), ..instance(|watch| watch.mask = 0x200) };
    changed.watches.extend(instance(|watch| watch.wd = 6).watches);
    let updated = updated(&file, &changed).unwrap();
    let mut expected = file.clone();
    expected.watches[0].mask = 0x200;
    let mut new = to_image(|watch| watch.wd = 6).unwrap().watches.remove(0);
    new.id = 4;
    expected.watches.insert(0, new);
    assert_eq!(updated, expected);
    assert_eq!(updated.encode().strip_suffix(&later).map(<[u8]>::len), Some(updated.encode().len() - later.len()));
}
