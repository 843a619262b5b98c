//! Where this user's state is, outside every data directory.

use std::path::PathBuf;

/// `$XDG_STATE_HOME/chancery`, or `~/.local/state/chancery`; `None` where neither variable says.
pub(crate) fn directory() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state =
        std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    Some(state.or_else(home)?.join("chancery"))
}
