//! Whose connections are taken.
//!
//! **Invariant:** a connection is of the signer's own user, or of the front's where the front has one of its
//! own; the kernel says so (`SO_PEERCRED`, unix(7)), for the moment at which the connection was made. However
//! many the front's user makes, there is room for the own user's: what remains when the front cannot be trusted
//! comes that way.
//!
//! What it does not do: believe that who connects is the front. What comes over a connection proves itself.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::net::sockopt::socket_peercred;
use rustix::process::{Uid, geteuid};

/// The most connections at once: 64, far more than a front has runtimes.
const CONNECTIONS_MAX: usize = 64;

/// The most of them that are of a front's user: 56, so that 8 are left for whoever goes past it.
const OF_THE_FRONT_MAX: usize = CONNECTIONS_MAX - 8;

/// The users whose connections are taken, and how many there are.
#[derive(Debug)]
pub(crate) struct Peers {
    own: Uid,
    front: Option<Uid>,
    all: Arc<()>,
    of_the_front: Arc<()>,
}

/// The place of one connection; when it is dropped there is room for another.
#[derive(Debug)]
pub(crate) struct Seat {
    _one: Arc<()>,
    _of_the_front: Option<Arc<()>>,
}

impl Peers {
    /// This process's own user, and the front's if it is another.
    pub(crate) fn new(front: Option<Uid>) -> Self {
        Self { own: geteuid(), front, all: Arc::default(), of_the_front: Arc::default() }
    }

    /// A seat for a connection of one of them, if there is room; one of which the kernel says nothing has none.
    pub(crate) fn admit(&self, stream: &UnixStream) -> Option<Seat> {
        self.seat(socket_peercred(stream).ok()?.uid)
    }

    fn seat(&self, user: Uid) -> Option<Seat> {
        let is_front = match user {
            user if user == self.own => false,
            user if Some(user) == self.front => true,
            _ => return None,
        };
        // One reference is our own.
        let has_room = Arc::strong_count(&self.all) <= CONNECTIONS_MAX
            && (!is_front || Arc::strong_count(&self.of_the_front) <= OF_THE_FRONT_MAX);
        has_room.then(|| Seat {
            _one: Arc::clone(&self.all),
            _of_the_front: is_front.then(|| Arc::clone(&self.of_the_front)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_without_a_user_of_its_own_adds_nobody() {
        let [root, front, third] = [0, 7, 8].map(Uid::from_raw);
        let of = |peers: &Peers| [root, front, third].map(|user| peers.seat(user).is_some());
        let peers = |front| Peers { own: root, ..Peers::new(front) };
        assert_eq!(of(&peers(Some(front))), [true, true, false]);
        assert_eq!(of(&peers(None)), [true, false, false]);
    }

    #[test]
    fn a_connection_of_this_process_is_taken() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert!(Peers::new(None).admit(&one).is_some());
    }

    #[test]
    fn however_many_the_front_has_there_is_room_beside_it() {
        let [root, front] = [0, 7].map(Uid::from_raw);
        let peers = Peers { own: root, ..Peers::new(Some(front)) };
        let mut seats: Vec<_> = std::iter::from_fn(|| peers.seat(front)).collect();
        assert_eq!(seats.len(), OF_THE_FRONT_MAX);
        seats.extend(std::iter::from_fn(|| peers.seat(root)));
        assert_eq!(seats.len(), CONNECTIONS_MAX);
        assert!(peers.seat(root).is_none());
        seats.clear();
        assert!(peers.seat(front).is_some());
    }
}
