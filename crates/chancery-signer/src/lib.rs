//! The signer: the shell that drives the core with a real clock, disk and keys.
