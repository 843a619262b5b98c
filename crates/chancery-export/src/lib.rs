//! The export of audit records to other systems, as events of the Open Cybersecurity Schema Framework (OCSF 1.8.0).
//!
//! - [`record`]: a record that was opened; [`ocsf`]: what it is as an event.
//! - [`cursor`]: how far a sink has them, in a file.
//! - [`sink`]: where events go, and what a sink may answer.
//! - [`exporter`]: from the log to the sink, page by page, and what happens when either is away.
//! - [`dead_letter`]: what a sink refuses for good.
//! - [`gauges`]: how it stands, for people and for Prometheus.
//!
//! **Invariant:** the cursor moves past a record once the sink has acknowledged it or the dead-letter file holds it,
//! and in the order of the log. So each record arrives at least once, whenever the process ends.
//!
//! **Invariant:** nothing is buffered but one page. The backlog is the log, and nobody who signs waits for a sink.
//!
//! What is deliberately not here: how the service is asked and records are opened ([`exporter::Records`] is handed in), a queue, a second
//! copy of the log, and any record that an auditor is not shown.

pub mod cursor;
pub mod dead_letter;
pub mod event;
pub mod exporter;
mod files;
pub mod gauges;
mod json;
pub mod limits;
mod moment;
pub mod ocsf;
pub mod record;
pub mod retry;
pub mod sink;
#[cfg(test)]
mod testing;
