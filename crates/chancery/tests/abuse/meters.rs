//! What the tests of this file read off a service: its counters, its records, its memory.

use std::fs;

use chancery_api::http::replies::{AnswerObject, RecordObject};
use chancery_core::command::{AuditQuery, Command};

use crate::harness::{Process, Service, ask, committed};
use crate::wire::{Request, Wire};

/// A counter of `/metrics`, by its name with labels; 0 if it has not been counted yet.
pub(super) fn counter(wire: &Wire, name: &str) -> u64 {
    let text = wire.send(&Request::get("/metrics")).body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// How often the front has refused with a code.
pub(super) fn refusals(wire: &Wire, code: &str) -> u64 {
    counter(wire, &format!("chancery_front_refusals_total{{code=\"{code}\"}}"))
}

/// The records of refusals, the oldest first.
pub(super) fn refused_records(service: &Service) -> Vec<RecordObject> {
    let query = AuditQuery { outcome: Some(1), limit: 1_000, ..AuditQuery::default() };
    let answer = committed(ask(&service.client(), &Command::QueryAudit(query))).answer;
    match answer {
        AnswerObject::Records(records) => records,
        other => panic!("no records but {other:?}"),
    }
}

/// The most memory that a process has had resident, in KiB (proc(5), `VmHWM`).
pub(super) fn peak_kib(service: &Service, process: Process) -> u64 {
    let pid = service.pids().get(process).unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
