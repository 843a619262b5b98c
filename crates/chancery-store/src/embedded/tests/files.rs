//! The file itself: permissions, names, locks and damage.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use redb::{ReadableDatabase, ReadableTable};

use super::{Dir, name, open, put};
use crate::contract::{Store, StoreError};
use crate::embedded::{
    Closed, Embedded, Integrity, META, META_FORMAT, OpenError, OpenMode, PrivateDirError, ROWS,
};
use crate::{Row, RowName, Transaction, private_dir};

fn refusal(path: &Path, mode: OpenMode) -> OpenError {
    Embedded::open(path, mode).unwrap_err()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_new_file_is_its_owners_alone_and_whole() {
    let dir = Dir::new();
    let store = open(&dir.file(), OpenMode::Create);
    assert_eq!(mode(&dir.file()), 0o600);
    let names: Vec<_> = fs::read_dir(&dir.0).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["store"]);
    drop(store);
    assert!(matches!(refusal(&dir.file(), OpenMode::Create), OpenError::Exists));
}

/// The umask is the whole process's, so it is set in a process of its own: a shell sets it and
/// runs this test again.
#[test]
fn the_umask_changes_nothing() {
    const CHILD: &str = "CHANCERY_STORE_TEST_UMASK";
    let dir = Dir::new();
    let (sub, file) = (dir.0.join("sub"), dir.0.join("sub/store"));
    if let Ok(path) = std::env::var(CHILD) {
        private_dir(Path::new(&path)).unwrap();
        drop(open(&Path::new(&path).join("store"), OpenMode::Create));
        return;
    }
    for umask in ["000", "022", "077", "777"] {
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", "umask $0 && exec \"$@\"", umask])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::tests::files::the_umask_changes_nothing"])
            .env(CHILD, &sub)
            .env("TMPDIR", &dir.0)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "umask {umask}");
        assert_eq!((mode(&sub), mode(&file)), (0o700, 0o600), "umask {umask}");
        fs::remove_dir_all(&sub).unwrap();
    }
}

#[test]
fn a_private_directory_is_made_once_and_then_checked() {
    let dir = Dir::new();
    let sub = dir.0.join("sub");
    private_dir(&sub).unwrap();
    assert_eq!(mode(&sub), 0o700);
    private_dir(&sub).unwrap();
    for open in [0o710, 0o701, 0o720, 0o755, 0o777] {
        chmod(&sub, open);
        let refused = private_dir(&sub);
        assert!(matches!(refused, Err(PrivateDirError::Unsafe { .. })), "{open:o} {refused:?}");
        assert_eq!(mode(&sub), open, "what exists is not corrected");
    }
    chmod(&sub, 0o700);
    symlink(&sub, dir.0.join("link")).unwrap();
    File::create(dir.0.join("file")).unwrap();
    for name in ["link", "file"] {
        let refused = private_dir(&dir.0.join(name));
        assert!(matches!(refused, Err(PrivateDirError::Unsafe { .. })), "{name} {refused:?}");
    }
    let refused = private_dir(&dir.0.join("missing/sub"));
    assert!(matches!(refused, Err(PrivateDirError::Unavailable { .. })), "{refused:?}");
}

#[test]
fn somebody_elses_directory_and_file_are_refused() {
    if !rustix::process::geteuid().is_root() {
        // Giving a file away takes privileges; the root directory is somebody else's already.
        let refused = private_dir(Path::new("/"));
        assert!(matches!(refused, Err(PrivateDirError::Unsafe { .. })), "{refused:?}");
        return;
    }
    let dir = Dir::new();
    let sub = dir.0.join("sub");
    private_dir(&sub).unwrap();
    drop(open(&dir.file(), OpenMode::Create));
    for path in [&sub, &dir.file()] {
        std::os::unix::fs::lchown(path, Some(12_345), None).unwrap();
    }
    let refused = private_dir(&sub);
    assert!(matches!(refused, Err(PrivateDirError::Unsafe { .. })), "{refused:?}");
    assert!(matches!(refusal(&dir.file(), OpenMode::ReadWrite), OpenError::Unsafe { .. }));
}

#[test]
fn a_file_that_others_could_touch_is_refused() {
    let dir = Dir::new();
    drop(open(&dir.file(), OpenMode::Create));
    for mode in [OpenMode::ReadOnly, OpenMode::ReadWrite] {
        for open in [0o640, 0o604, 0o620, 0o602, 0o666] {
            chmod(&dir.file(), open);
            let refused = refusal(&dir.file(), mode);
            assert!(matches!(refused, OpenError::Unsafe { .. }), "{open:o} {refused:?}");
        }
        chmod(&dir.file(), 0o600);
        fs::hard_link(dir.file(), dir.0.join("second")).unwrap();
        assert!(matches!(refusal(&dir.file(), mode), OpenError::Unsafe { .. }));
        fs::remove_file(dir.0.join("second")).unwrap();
        open(&dir.file(), mode);
    }
}

#[test]
fn what_is_no_file_is_refused_and_no_link_is_followed() {
    let dir = Dir::new();
    drop(open(&dir.file(), OpenMode::Create));
    let path = |name: &str| dir.0.join(name);
    symlink(dir.file(), path("link")).unwrap();
    symlink(path("nowhere"), path("dangling")).unwrap();
    private_dir(&path("dir")).unwrap();
    let _socket = UnixListener::bind(path("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    for name in ["link", "dangling", "fifo"] {
        let refused = refusal(&path(name), OpenMode::ReadOnly);
        assert!(matches!(refused, OpenError::Unsafe { .. }), "{name} {refused:?}");
    }
    for name in ["dir", "socket", "link", "dangling", "fifo"] {
        Embedded::open(&path(name), OpenMode::ReadWrite).unwrap_err();
        assert!(matches!(refusal(&path(name), OpenMode::Create), OpenError::Exists), "{name}");
    }
    assert!(!path("nowhere").exists());
    assert!(matches!(refusal(&path("missing"), OpenMode::ReadOnly), OpenError::Missing));
    assert!(matches!(refusal(&path("missing"), OpenMode::ReadWrite), OpenError::Missing));
    let refused = refusal(&path("missing/store"), OpenMode::Create);
    assert!(matches!(refused, OpenError::Unavailable { .. }), "{refused:?}");
}

#[test]
fn what_a_crash_left_while_creating_is_made_anew() {
    let dir = Dir::new();
    fs::write(dir.0.join("store.new"), b"half a store").unwrap();
    open(&dir.file(), OpenMode::Create).commit(put("a", "1")).unwrap();
    assert!(!dir.0.join("store.new").exists());
    assert_eq!(mode(&dir.file()), 0o600);
}

#[test]
fn an_open_file_is_locked() {
    let dir = Dir::new();
    let writer = open(&dir.file(), OpenMode::Create);
    for mode in [OpenMode::ReadOnly, OpenMode::ReadWrite] {
        assert!(matches!(refusal(&dir.file(), mode), OpenError::Locked), "{mode:?}");
    }
    drop(writer);
    let reader = open(&dir.file(), OpenMode::ReadOnly);
    assert!(matches!(refusal(&dir.file(), OpenMode::ReadWrite), OpenError::Locked));
    drop(reader);
    open(&dir.file(), OpenMode::ReadWrite);
}

#[test]
fn creating_in_a_directory_at_work_is_refused() {
    let dir = Dir::new();
    let draft = super::super::file::Draft::new(&dir.file()).unwrap();
    assert!(matches!(refusal(&dir.file(), OpenMode::Create), OpenError::Locked));
    drop(draft);
    open(&dir.file(), OpenMode::Create);
}

/// The bytes of format 1. A change here is a new format, and needs a migration.
#[test]
fn the_tables_of_format_one_are_as_documented() {
    let dir = Dir::new();
    let store = open(&dir.file(), OpenMode::Create);
    store.commit(put("a", "first")).unwrap();
    store.commit(put("b", "second")).unwrap();
    drop(store);
    let database = redb::Database::open(dir.file()).unwrap();
    let read = database.begin_read().unwrap();
    let meta = read.open_table(META).unwrap();
    let entries = meta.iter().unwrap().map(|entry| {
        let (name, value) = entry.unwrap();
        (name.value().to_owned(), value.value())
    });
    assert_eq!(entries.collect::<Vec<_>>(), [("format".into(), 1), ("revision".into(), 2)]);
    let rows = read.open_table(ROWS).unwrap();
    let entries = rows.iter().unwrap().map(|entry| {
        let (name, value) = entry.unwrap();
        (name.value().to_vec(), value.value().to_vec())
    });
    assert_eq!(
        entries.collect::<Vec<_>>(),
        [
            (b"a".to_vec(), b"\0\0\0\0\0\0\0\x01first".to_vec()),
            (b"b".to_vec(), b"\0\0\0\0\0\0\0\x02second".to_vec()),
        ]
    );
}

#[test]
fn another_format_is_refused_by_its_number() {
    let dir = Dir::new();
    drop(open(&dir.file(), OpenMode::Create));
    let database = redb::Database::open(dir.file()).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(META).unwrap().insert(META_FORMAT, 2).unwrap();
    write.commit().unwrap();
    drop(database);
    for mode in [OpenMode::ReadOnly, OpenMode::ReadWrite] {
        assert!(matches!(refusal(&dir.file(), mode), OpenError::Format { found: 2 }));
    }
}

#[test]
fn a_row_that_does_not_decode_is_corrupt() {
    let dir = Dir::new();
    drop(open(&dir.file(), OpenMode::Create));
    let database = redb::Database::open(dir.file()).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(ROWS).unwrap().insert(&b"short"[..], &b"1234567"[..]).unwrap();
    write.open_table(ROWS).unwrap().insert(&[b'n'; 129][..], &[0; 8][..]).unwrap();
    write.commit().unwrap();
    drop(database);
    let store = open(&dir.file(), OpenMode::ReadWrite);
    assert!(matches!(store.get(&name("short")), Err(StoreError::Corrupt { .. })));
    assert!(matches!(store.range(b"n", None, 10), Err(StoreError::Corrupt { .. })));
    assert!(matches!(store.range(b"s", None, 10), Err(StoreError::Corrupt { .. })));
    assert!(matches!(crate::check(&store), Err(StoreError::Corrupt { .. })));
}

#[test]
fn what_is_no_store_is_corrupt() {
    let dir = Dir::new();
    let random: Vec<u8> =
        (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let contents: [&[u8]; 5] = [b"", b"x", b"redb\x1a\x0a\xa9\x0d\x0a", &[0; 8192], &random];
    for content in contents {
        fs::write(dir.file(), content).unwrap();
        chmod(&dir.file(), 0o600);
        for mode in [OpenMode::ReadOnly, OpenMode::ReadWrite] {
            let refused = refusal(&dir.file(), mode);
            assert!(matches!(refused, OpenError::Corrupt { .. }), "{mode:?} {refused:?}");
        }
        assert_eq!(fs::read(dir.file()).unwrap(), content, "a refused file is left as it was");
    }
}

/// Writes a store of forty rows, and gives its rows and the bytes of its file.
fn forty_rows(dir: &Dir) -> (Vec<Row>, Vec<u8>) {
    let store = open(&dir.file(), OpenMode::Create);
    for number in 0..40_u32 {
        let name = RowName::new(number.to_be_bytes()).unwrap();
        store.commit(Transaction::new().put(name, vec![0x5a; 200])).unwrap();
    }
    let rows = store.range(b"", None, 100).unwrap();
    drop(store);
    (rows, fs::read(dir.file()).unwrap())
}

/// Where a store lies damaged, it is refused or gives exactly what was committed.
#[test]
fn damage_is_found_or_does_not_matter() {
    let dir = Dir::new();
    let (rows, whole) = forty_rows(&dir);
    let mut refused = 0;
    // Every byte of the header, and a sample of the pages.
    for place in (0..320).chain((320..whole.len()).step_by(whole.len() / 300 + 1)) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x41;
        fs::write(dir.file(), &damaged).unwrap();
        match Embedded::open(&dir.file(), OpenMode::ReadWrite) {
            Ok(store) => assert_eq!(store.range(b"", None, 100).unwrap(), rows, "byte {place}"),
            Err(OpenError::Corrupt { .. }) => refused += 1,
            Err(other) => panic!("byte {place}: {other:?}"),
        }
        // A reader does not verify, but it neither panics nor hangs.
        fs::write(dir.file(), &damaged).unwrap();
        if let Ok(store) = Embedded::open(&dir.file(), OpenMode::ReadOnly) {
            let _rows = store.range(b"", None, 100);
        }
    }
    assert!(refused > 20, "only {refused} damaged files were refused");
}

#[test]
fn a_file_that_was_cut_short_is_corrupt() {
    let dir = Dir::new();
    let (_, whole) = forty_rows(&dir);
    for length in [1, 64, 319, 320, 4096, whole.len() / 2, whole.len() - 1] {
        fs::write(dir.file(), &whole[..length]).unwrap();
        let cut = refusal(&dir.file(), OpenMode::ReadOnly);
        let expected = matches!(cut, OpenError::Corrupt { .. } | OpenError::NeedsRepair);
        assert!(expected, "{length} bytes, reading: {cut:?}");
        let cut = refusal(&dir.file(), OpenMode::ReadWrite);
        assert!(matches!(cut, OpenError::Corrupt { .. }), "{length} bytes, writing: {cut:?}");
    }
}

/// Whatever an examination finds, the file is as it was, and it finds what an opening for writing would.
#[test]
fn an_examination_changes_nothing_and_finds_what_an_opening_would() {
    let dir = Dir::new();
    let (rows, whole) = forty_rows(&dir);
    let sound = Embedded::examine(&dir.file()).unwrap();
    assert_eq!((sound.integrity, sound.closed), (Integrity::Sound, Closed::Cleanly));
    assert_eq!(sound.store.range(b"", None, 100).unwrap(), rows);
    drop(sound);
    assert_eq!(fs::read(dir.file()).unwrap(), whole);
    for place in (0..320).step_by(7).chain((320..whole.len()).step_by(whole.len() / 60 + 1)) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x41;
        fs::write(dir.file(), &damaged).unwrap();
        let examined = Embedded::examine(&dir.file()).map(|examined| drop(examined.store));
        assert_eq!(fs::read(dir.file()).unwrap(), damaged, "byte {place}");
        let opened = Embedded::open(&dir.file(), OpenMode::ReadWrite);
        let is_corrupt = matches!(examined, Err(OpenError::Corrupt { .. }));
        assert_eq!(is_corrupt, opened.is_err(), "byte {place}: {examined:?}");
    }
}

#[test]
fn a_file_that_a_crash_left_is_examined_as_such() {
    let dir = Dir::new();
    let store = open(&dir.file(), OpenMode::Create);
    store.commit(put("a", "1")).unwrap();
    // What the disk has while the store is open is what a crash would leave.
    let left = fs::read(dir.file()).unwrap();
    assert!(matches!(Embedded::examine(&dir.file()), Err(OpenError::Locked)));
    drop(store);
    fs::write(dir.file(), &left).unwrap();
    let examined = Embedded::examine(&dir.file()).unwrap();
    assert_eq!((examined.integrity, examined.closed), (Integrity::Sound, Closed::ByCrash));
    assert_eq!(examined.store.get(&name("a")).unwrap().unwrap().value, b"1");
    drop(examined);
    assert_eq!(fs::read(dir.file()).unwrap(), left);
}
