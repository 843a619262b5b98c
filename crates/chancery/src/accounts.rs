//! The user that the front runs as, out of /etc/passwd (passwd(5)).
//!
//! Other sources of accounts are not asked: they need a library in the process, or a service that is up.
//!
//! **Invariant:** what [`front_user`] gives is neither root, nor in root's group, nor the service's own user.

use anyhow::{Context as _, Result, bail};
use rustix::process::{Gid, Uid};

use crate::privileges::User;

/// The file of accounts.
pub(crate) const FILE: &str = "/etc/passwd";

/// The accounts that are tried where none is named: one that is made for it, and the one that every system has.
const USUAL: [&str; 2] = ["chancery-front", "nobody"];

/// The user that the front is to run as: the one that was asked for, or the usual one; none where the service
/// is not root's, and the front runs as its user.
///
/// # Errors
///
/// What is wrong with the command line.
pub(crate) fn front_user(asked: Option<&str>, own: Uid, passwd: &str) -> Result<Option<User>> {
    match (asked, own.is_root()) {
        (None, false) => Ok(None),
        (Some(_), false) => {
            bail!("`--front-user` needs root: only root can start a process as another user")
        }
        (Some(asked), true) => unprivileged(asked, passwd).map(Some),
        (None, true) => {
            let usual = USUAL.into_iter().find(|name| find(passwd, name).is_some());
            let usual = usual.context(
                "root runs the front as another user, and neither `chancery-front` nor `nobody` is in \
                 /etc/passwd; `--front-user USER` names another",
            )?;
            unprivileged(usual, passwd).map(Some)
        }
    }
}

fn unprivileged(asked: &str, passwd: &str) -> Result<User> {
    let user = find(passwd, asked);
    let user = user.with_context(|| {
        format!("`--front-user {asked}`: no such name or number in /etc/passwd")
    })?;
    if user.uid.is_root() || user.gid.is_root() {
        bail!("`--front-user {asked}`: the front must be neither root nor in root's group");
    }
    Ok(user)
}

/// A user by name, or else by number. A name comes first, as for chown(1).
fn find(passwd: &str, asked: &str) -> Option<User> {
    let by_name = accounts(passwd).find(|(name, _)| *name == asked);
    let number = asked.parse().ok();
    let by_number = || accounts(passwd).find(|(_, user)| Some(user.uid.as_raw()) == number);
    by_name.or_else(by_number).map(|(_, user)| user)
}

/// The lines that have a name and two numbers.
fn accounts(passwd: &str) -> impl Iterator<Item = (&str, User)> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _password, uid, gid, ..] = fields[..] else { return None };
        let user = User { uid: Uid::from_raw(number(uid)?), gid: Gid::from_raw(number(gid)?) };
        (!name.is_empty()).then_some((name, user))
    })
}

/// The number that means no user, and leaves a process with the one it has, is none.
fn number(field: &str) -> Option<u32> {
    field.parse().ok().filter(|number| *number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "\
root:x:0:0:root:/r:/bin/sh
toor:x:0:7::/:/bin/sh
wheel:x:7:0::/:/bin/sh
# a comment
nobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin
1000:x:5:6::/:/bin/sh
ada:x:1000:1001:Ada:/:/bin/sh
none:x:4294967295:4294967295::/:
broken:x:one:2::/:
";

    #[track_caller]
    fn check(
        asked: Option<&str>,
        own: u32,
        passwd: &str,
        expected: Result<Option<(u32, u32)>, &str>,
    ) {
        let found = front_user(asked, Uid::from_raw(own), passwd);
        let found = found.map(|user| user.map(|user| (user.uid.as_raw(), user.gid.as_raw())));
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{found:?}, and not {expected:?}"),
        }
    }

    #[test]
    fn root_gives_the_front_a_user_and_nobody_else_does() {
        check(Some("ada"), 0, PASSWD, Ok(Some((1000, 1001))));
        check(Some("65534"), 0, PASSWD, Ok(Some((65534, 65533))));
        check(Some("1000"), 0, PASSWD, Ok(Some((5, 6))));
        check(None, 1000, PASSWD, Ok(None));
        check(Some("nobody"), 1000, PASSWD, Err("needs root"));
        check(Some("ada"), 1000, PASSWD, Err("needs root"));
    }

    #[test]
    fn an_account_of_its_own_comes_before_nobody() {
        check(None, 0, PASSWD, Ok(Some((65534, 65533))));
        let with = format!("{PASSWD}chancery-front:x:900:901::/:\n");
        check(None, 0, &with, Ok(Some((900, 901))));
        check(None, 0, "root:x:0:0::/:\n", Err("--front-user USER"));
        check(None, 0, "nobody:x:0:0::/:\n", Err("neither root nor"));
    }

    #[test]
    fn neither_root_nor_what_is_not_there_is_a_user_for_the_front() {
        for root in ["root", "0", "toor", "wheel", "7"] {
            check(Some(root), 0, PASSWD, Err("neither root nor in root's group"));
        }
        for missing in ["", "grace", "none", "4294967295", "-1", "broken", "# a comment", "x"] {
            check(Some(missing), 0, PASSWD, Err("no such name or number"));
        }
    }
}
