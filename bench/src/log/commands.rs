//! Proofs and queries by the command line, timed as whoever gives the command has them: start of the program, TLS and
//! all. What a command takes that asks for next to nothing stands beside them.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use chancery_client::{Input, KeyHandle, Manner, Receipt, operation_id};
use chancery_core::context::Context as KeyContext;
use serde::Serialize;

use crate::instance::Instance;
use crate::keys::{self, New};
use crate::report::{median, micros};

/// How often each is given.
const REPEATS: usize = 5;

/// The uses of the key that is asked for: few among all that the log has.
const FEW: usize = 3;

/// What is asked for: records that stand at the beginning of the log, under a key that nobody uses afterwards.
pub(super) struct Marked {
    key: String,
    operation: String,
    receipt: PathBuf,
    proof: PathBuf,
}

/// Medians, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Took {
    pub(super) prove_operation: f64,
    pub(super) prove_receipt: f64,
    pub(super) query_key: f64,
    pub(super) status: f64,
}

impl Marked {
    /// Makes the records.
    pub(super) fn make(service: &Instance) -> Result<Self> {
        let new = New { name: "rare", purpose: "mac.bound:bench", algorithm: "hmac-sha-256" };
        let key = keys::create(service.client(), &new)?;
        let handle = keys::issue(service.client(), &key)?;
        let mut last = None;
        for _ in 0..FEW {
            last = Some(one(service, &handle)?);
        }
        let (operation, receipt) = last.context("there are some")?;
        let path = service.path("rare.receipt");
        std::fs::write(&path, receipt)?;
        Ok(Self {
            key: key.name.to_string(),
            operation,
            receipt: path,
            proof: service.path("rare.audit-proof"),
        })
    }

    /// Gives each command so often that a median says something.
    pub(super) fn time(&self, service: &Instance) -> Result<Took> {
        let (receipt, proof) = (text(&self.receipt)?, text(&self.proof)?);
        let prove = |by: &str, what: &str| {
            timed(|| {
                let _ = std::fs::remove_file(&self.proof);
                let started = Instant::now();
                service.run(&["audit", "prove", by, what, "--out", proof])?;
                Ok(started)
            })
        };
        let query = || {
            let started = Instant::now();
            let printed =
                service.run(&["audit", "query", "--key", &self.key, "--action", "mac", "--csv"])?;
            let records = String::from_utf8_lossy(&printed).lines().count().saturating_sub(1);
            ensure!(records == FEW, "{records} records of the key were found, and not {FEW}");
            Ok(started)
        };
        let status = || {
            let started = Instant::now();
            service.run(&["status"]).map(|_| started)
        };
        Ok(Took {
            prove_operation: prove("--operation", &self.operation)?,
            prove_receipt: prove("--receipt", receipt)?,
            query_key: timed(query)?,
            status: timed(status)?,
        })
    }
}

/// One use, with an id and a receipt.
fn one(service: &Instance, handle: &KeyHandle) -> Result<(String, Vec<u8>)> {
    let context = KeyContext::default();
    let operation = operation_id()?;
    let manner = Manner {
        operation,
        context: &context,
        receipt: Receipt::Wanted,
        holders: &[],
        routing_key: None,
    };
    let used = service.client().mac(handle, Input::Message(b"rare"), &manner).committed()?;
    Ok((operation.to_string(), used.receipt))
}

/// The median of how long it took since the moment that each gives.
fn timed(mut each: impl FnMut() -> Result<Instant>) -> Result<f64> {
    let took = (0..REPEATS).map(|_| Ok(micros(each()?.elapsed()) / 1e3));
    Ok(median(&took.collect::<Result<Vec<_>>>()?))
}

fn text(path: &std::path::Path) -> Result<&str> {
    path.to_str().context("a path is no text")
}
