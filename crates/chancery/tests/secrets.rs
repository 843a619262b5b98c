//! Planted secrets: keys whose bytes a test knows are imported and used, and then looked for everywhere.
//!
//! Searched are the data directory with store and audit log, what the processes wrote, metrics, the bodies of
//! refusals, whatever a core dump would leave, and, where the test runs as root, the memory of all three
//! processes. What must be nowhere is in [`planted`](secrets::planted); what SECURITY.md says lies in ordinary
//! memory is in [`ordinary`](secrets::ordinary), and must be all that does. What is handed over, and what leaves no file to be
//! read from, is in [`passing`](secrets::passing): an exporter's keys, the front's TLS key, one-time keys of imports.
//!
//! The controls are in [`control`](secrets::control): this executable as its own child holds a key as the signer
//! does, and the search finds it in the arena alone; told to leak a copy, the child is found out.
//!
//! One search runs with the arena that this kernel gives, the other in a process tree in which
//! `memfd_secret` is refused by a seccomp filter, so that the signer falls back to locked memory.

#[cfg(test)]
mod harness;
#[cfg(test)]
mod opened;
#[cfg(test)]
mod search;
#[cfg(test)]
mod wire;

#[cfg(test)]
mod secrets {
    mod control;
    mod ordinary;
    mod passing;
    mod planted;
}

/// As in the binary: it wipes once it is told to, which only the control's child does.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: chancery_memory::wiping::Wiping = chancery_memory::wiping::Wiping::system();
