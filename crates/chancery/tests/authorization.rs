//! Who may do what: every route, caller, operation and key state, with what comes of it.
//!
//! `authorization.txt` holds the whole table, one cell a line and sorted. It is made by the pure core, where
//! authority is decided; a second test holds the running service to every line whose key state it can reach,
//! so that the file is what the service does. A route that is missing in the file fails the first test, and
//! so does any cell that changed: run with `CHANCERY_WRITE_AUTHORIZATION=1` to write the file anew, and
//! review the difference.
//!
//! | caller | shows |
//! |---|---|
//! | `operator`, `developer`, `auditor` | the signature of a principal of that role, and no handle |
//! | `handle` | a handle of the key for all that the key can do, and no signature |
//! | `handle-without` | a handle of the key for all of that but the operation |
//! | `nobody` | neither |
//!
//! The key is one that can do the operation; a route that names no key has no state. Not reached over the
//! wire: `pre-activation`, since keys are made Active, and `destroyed`, which takes 30 days.

#[cfg(test)]
mod harness;
#[cfg(test)]
mod wire;

#[cfg(test)]
mod authorization {
    mod served;
    mod table;
}
