//! The front against a signer of this test's own, over real sockets and real TLS.

#[cfg(test)]
mod front {
    mod bounds;
    mod client;
    mod life;
    mod requests;
    mod signer;
}
