//! Whose connections are taken.
//!
//! **Invariant:** a connection is of the signer's own user, or of the front's where the front has one of its
//! own; the kernel says so (`SO_PEERCRED`, unix(7)), for the moment at which the connection was made.
//!
//! What it does not do: believe that who connects is the front. What comes over a connection proves itself.

use std::os::unix::net::UnixStream;

use rustix::net::sockopt::socket_peercred;
use rustix::process::{Uid, geteuid};

/// The users whose connections are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peers {
    own: Uid,
    front: Option<Uid>,
}

impl Peers {
    /// This process's own user, and the front's if it is another.
    pub(crate) fn new(front: Option<Uid>) -> Self {
        Self { own: geteuid(), front }
    }

    /// Whether a connection is of one of them; one of which the kernel says nothing is not.
    pub(crate) fn admit(&self, stream: &UnixStream) -> bool {
        socket_peercred(stream).is_ok_and(|peer| self.include(peer.uid))
    }

    fn include(&self, user: Uid) -> bool {
        user == self.own || Some(user) == self.front
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_without_a_user_of_its_own_adds_nobody() {
        let [root, front, third] = [0, 7, 8].map(Uid::from_raw);
        let apart = Peers { own: root, front: Some(front) };
        assert_eq!([root, front, third].map(|user| apart.include(user)), [true, true, false]);
        let together = Peers { own: root, front: None };
        assert_eq!([root, front, third].map(|user| together.include(user)), [true, false, false]);
    }

    #[test]
    fn a_connection_of_this_process_is_taken() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert!(Peers::new(None).admit(&one));
    }
}
