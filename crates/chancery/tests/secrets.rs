//! Planted secrets: keys whose bytes a test knows are imported and used, and then looked for everywhere.
//!
//! Searched are the data directory with store and audit log, what the processes wrote, metrics, the bodies of
//! refusals, whatever a core dump would leave, and, where the test runs as root, the memory of all three
//! processes. Controls show that the search finds a copy on the heap of another process and a key in an
//! arena of locked memory, and that no reader gets at one of secret memory.
//!
//! One search runs with the arena that this kernel gives, the other in a process tree in which
//! `memfd_secret` is refused by a seccomp filter, so that the signer falls back to locked memory.

#[cfg(test)]
mod harness;
#[cfg(test)]
mod search;
#[cfg(test)]
mod wire;

#[cfg(test)]
mod secrets {
    mod planted;
}
