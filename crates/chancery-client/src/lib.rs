//! The client: handles, a capability-style signer and its three outcomes.
