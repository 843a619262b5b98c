//! Asking witnesses to cosign the log's checkpoint (C2SP tlog-witness): for `witness submit`, and for the service by
//! its courier.

mod ask;
mod elsewhere;
mod exchange;
mod round;
mod watch;

pub(crate) use self::elsewhere::{look, of_peer, of_witness};
pub(crate) use self::exchange::Exchange;
pub(crate) use self::round::{Fault, Round, WITNESS_MAX, lost, places, run};
pub(crate) use self::watch::Watch;
