//! The front: TLS, HTTP, JSON and limits; it decides nothing.
