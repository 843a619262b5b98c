//! The service as a whole: three real processes, real TLS, the real command line.

mod harness;

use crate::harness::{Process, Service, committed, fresh, key_and_handle, sign};

#[test]
fn a_service_signs_and_survives_its_processes() {
    let mut service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    committed(sign(&client, &handle, b"one", fresh()));
    service.kill(Process::Supervisor);
    service.restart();
    committed(sign(&client, &handle, b"two", fresh()));
}
