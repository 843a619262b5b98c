//! What bad input gets: refused with its code, at a bounded cost, recorded or counted, and nobody else waits.
//!
//! Everything goes over the real front of a real service, on the loopback interface, and stops by itself.
//! Frames and proofs that only a lying front can send are in `service/lying_front.rs`.

#[cfg(test)]
mod harness;
#[cfg(test)]
mod wire;

#[cfg(test)]
mod abuse {
    mod bodies;
    mod crowd;
    mod frames;
    mod handles;
    mod http2;
    mod meters;
    mod paths;
    mod slow;
}
