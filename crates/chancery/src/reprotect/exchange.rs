//! Putting a new file in the place of an old one, unless that is another one by then.
//!
//! The two are exchanged in one step (renameat2(2), `RENAME_EXCHANGE`), and what came out is looked at. If somebody else has
//! put a file there since the old one was read, it goes back. So nothing is overwritten that nobody has looked at, and a file
//! that was deleted stays deleted.
//!
//! **Invariant:** the old file is there, under the one name or the other, until the caller removes it, which it does when the
//! names are durable.
//!
//! Two gaps are left. What is written *into* the old file after it came out goes with it. And if the machine stops between
//! an exchange and the one that takes it back, a file that somebody else put there in the moment before lies under the name
//! of the new one, which the next start removes. On a file system that cannot exchange, the new file is renamed over the old
//! one, and what somebody else puts there between the look and the rename is lost.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Once;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::directory::Identity;
use super::opened::shown;

/// What became of a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It is in its place; the old one lies under its name, if anything does.
    InPlace,
    /// Somebody else has changed the old one, which is where it was. The new one is removed.
    Changed,
    /// Somebody else has deleted the old one. The new one is removed.
    Gone,
}

/// Puts the file `new` in the place of the one that `was` there.
pub(super) fn put(new: &Path, place: &Path, was: Identity) -> io::Result<Put> {
    let put = match fs::symlink_metadata(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Put::Gone,
        Err(error) => return Err(error),
        Ok(is) if Identity::of(&is) != was => Put::Changed,
        Ok(_) => exchanged((new, place), was, &exchange)?,
    };
    if put != Put::InPlace {
        // If it stays, the next start removes it.
        let _ = fs::remove_file(new);
    }
    Ok(put)
}

fn exchange(new: &Path, place: &Path) -> rustix::io::Result<()> {
    renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE)
}

/// Exchanges until what comes out is what was expected: the old file, or after it another one that was put there before it
/// went back.
fn exchanged(
    (new, place): (&Path, &Path),
    was: Identity,
    exchange: &dyn Fn(&Path, &Path) -> rustix::io::Result<()>,
) -> io::Result<Put> {
    let identity = || fs::symlink_metadata(new).map(|metadata| Identity::of(&metadata));
    let (mut expected, mut goes_in, mut put) = (was, identity()?, Put::InPlace);
    loop {
        match exchange(new, place) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(Put::Gone),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if put == Put::InPlace => {
                return renamed(new, place);
            }
            Err(error) if put == Put::InPlace => return Err(error.into()),
            Err(error) => {
                return Err(io::Error::other(format!(
                    "a file that somebody else put there lies in `{}`, and does not go back ({error}); move it there",
                    shown(new)
                )));
            }
        }
        let came_out = identity()?;
        if came_out.holds_the_same_as(expected) {
            return Ok(put);
        }
        (expected, goes_in, put) = (goes_in, came_out, Put::Changed);
    }
}

fn renamed(new: &Path, place: &Path) -> io::Result<Put> {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        eprintln!(
            "chancery: this file system cannot exchange two files: what somebody else puts in the place of one in the \
             moment before it is replaced is lost"
        );
    });
    fs::rename(new, place)?;
    Ok(Put::InPlace)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::PathBuf;

    use super::*;
    use crate::testing::Scratch;

    /// A place with an old file, a new one, and the former's identity.
    struct Scene {
        _scratch: Scratch,
        new: PathBuf,
        place: PathBuf,
        theirs: PathBuf,
        was: Identity,
    }

    fn scene(name: &str) -> Scene {
        let scratch = Scratch::new(name);
        let [new, place, theirs] = ["new", "place", "theirs"].map(|name| scratch.path(name));
        fs::write(&new, "new").unwrap();
        fs::write(&place, "old").unwrap();
        let was = Identity::of(&fs::symlink_metadata(&place).unwrap());
        Scene { _scratch: scratch, new, place, theirs, was }
    }

    impl Scene {
        /// What an application does that writes there.
        fn write(&self, text: &str) {
            fs::write(&self.theirs, text).unwrap();
            fs::rename(&self.theirs, &self.place).unwrap();
        }

        /// Exchanges, with something that somebody else does before each.
        fn exchanged(&self, before: &dyn Fn(u32)) -> Put {
            let count = Cell::new(0);
            let exchange = |new: &Path, place: &Path| {
                before(count.get());
                count.set(count.get() + 1);
                exchange(new, place)
            };
            exchanged((&self.new, &self.place), self.was, &exchange).unwrap()
        }

        fn lies(&self) -> String {
            fs::read_to_string(&self.place).unwrap()
        }
    }

    #[test]
    fn the_new_file_is_in_its_place_and_the_old_one_under_its_name() {
        let scene = scene("exchange-placed");
        assert_eq!(put(&scene.new, &scene.place, scene.was).unwrap(), Put::InPlace);
        assert_eq!(
            (scene.lies().as_str(), fs::read(&scene.new).unwrap()),
            ("new", b"old".to_vec())
        );
    }

    /// The look finds nothing, and then somebody else is faster.
    #[test]
    fn what_somebody_else_put_there_after_the_look_goes_back() {
        let scene = scene("exchange-changed");
        let put = scene.exchanged(&|count| {
            if count == 0 {
                scene.write("theirs");
            }
        });
        assert_eq!((put, scene.lies().as_str()), (Put::Changed, "theirs"));
        assert_eq!(fs::read(&scene.new).unwrap(), b"new");
    }

    /// Somebody else writes again while the first of theirs is out of its place: the later one stays.
    #[test]
    fn what_somebody_else_wrote_last_stays_however_often_they_write() {
        for writes in 1..5 {
            let scene = scene("exchange-often");
            let put = scene.exchanged(&|count| {
                if count < writes {
                    scene.write(&format!("theirs, {count}"));
                }
            });
            let last = format!("theirs, {}", writes - 1);
            assert_eq!((put, scene.lies()), (Put::Changed, last), "{writes}");
        }
    }

    #[test]
    fn what_somebody_else_deleted_stays_deleted() {
        let scene = scene("exchange-gone");
        let put = scene.exchanged(&|_| fs::remove_file(&scene.place).unwrap());
        assert_eq!((put, scene.place.exists()), (Put::Gone, false));
        // After they wrote, too.
        let scene = self::scene("exchange-gone-late");
        let put = scene.exchanged(&|count| match count {
            0 => scene.write("theirs"),
            _ => fs::remove_file(&scene.place).unwrap(),
        });
        assert_eq!((put, scene.place.exists()), (Put::Gone, false));
    }

    #[test]
    fn what_cannot_be_put_back_is_named() {
        let scene = scene("exchange-stuck");
        let count = Cell::new(0);
        let once = |new: &Path, place: &Path| {
            if count.replace(1) > 0 {
                return Err(Errno::IO);
            }
            scene.write("theirs");
            exchange(new, place)
        };
        let error = exchanged((&scene.new, &scene.place), scene.was, &once).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Other);
        assert!(error.to_string().contains("that somebody else put there"), "{error}");
        assert_eq!(fs::read(&scene.new).unwrap(), b"theirs");
    }

    #[test]
    fn a_file_system_that_cannot_exchange_renames() {
        let scene = scene("exchange-none");
        let cannot = |_: &Path, _: &Path| Err(Errno::INVAL);
        let put = exchanged((&scene.new, &scene.place), scene.was, &cannot).unwrap();
        assert_eq!((put, scene.lies().as_str()), (Put::InPlace, "new"));
        assert!(!scene.new.exists());
    }
}
