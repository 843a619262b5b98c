//! Handles that are no good, each in its way.
//!
//! What does not open is counted, and has no record of its own: nobody has shown who asks. What opens and
//! does not count is on record.

use chancery_api::http::AUTHORIZATION;
use chancery_api::http::uses::authorization_field;
use chancery_client::{KeyHandle, unix_ms};
use chancery_core::cbor;
use chancery_core::command::{Command, NewHandle};
use chancery_core::context::Pair;
use chancery_core::handle::{self, Caveat, HandleKeyId, Link, Operation, Operations, Tag};
use chancery_crypto::mac::{ChainLink, HandleMac};

use super::meters::{counter, refused_records};
use crate::harness::{
    Service, ask, committed, create_key, eventually, issue, key_and_handle, new_handle,
};
use crate::wire::{Request, Wire};

/// The chain of `core::handle`, taken apart by hand: `[1, key, root, [caveat, …], tag]`.
#[derive(Clone, Debug)]
struct Chain {
    root: Vec<u8>,
    caveats: Vec<Vec<u8>>,
    tag: Tag,
}

impl Chain {
    fn of(handle: &KeyHandle) -> Self {
        let mut decoder = minicbor::Decoder::new(handle.expose_bytes());
        assert_eq!(decoder.array().unwrap(), Some(5));
        assert_eq!((decoder.u8().unwrap(), decoder.u32().unwrap()), (1, 1));
        let root = decoder.bytes().unwrap().to_vec();
        let count = decoder.array().unwrap().unwrap();
        let caveats = (0..count).map(|_| decoder.bytes().unwrap().to_vec()).collect();
        Self { root, caveats, tag: decoder.bytes().unwrap().try_into().unwrap() }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = minicbor::Encoder::new(&mut bytes);
        encoder.array(5).unwrap().u8(1).unwrap().u32(1).unwrap().bytes(&self.root).unwrap();
        encoder.array(u64::try_from(self.caveats.len()).unwrap()).unwrap();
        for caveat in &self.caveats {
            encoder.bytes(caveat).unwrap();
        }
        encoder.bytes(&self.tag).unwrap();
        bytes
    }

    /// With another caveat, whatever its bytes are.
    fn and(mut self, caveat: &[u8]) -> Self {
        self.tag = ChainLink.link(&self.tag, caveat);
        self.caveats.push(caveat.to_vec());
        self
    }
}

/// The outcome of signing with these bytes as a handle.
fn outcome(wire: &Wire, handle: &[u8]) -> String {
    let request = Request::post("/v1/sign", r#"{"message":"AAAA"}"#);
    wire.send(&request.with(AUTHORIZATION, &authorization_field(handle))).outcome()
}

#[test]
fn a_handle_that_is_not_ours_as_it_stands_is_refused_and_counted() {
    let service = Service::start();
    let client = service.client();
    let (_, minted) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    let only_verify = Caveat::Operations(Operations::of(&[Operation::Verify]));
    let narrowed = minted.narrow(&[Caveat::Expires(unix_ms() + 60_000), only_verify]).unwrap();
    let (minted, narrowed) = (Chain::of(&minted), Chain::of(&narrowed));
    let wire = Wire::to(&service);
    assert_eq!(outcome(&wire, &minted.to_bytes()), "ok");
    assert_eq!(outcome(&wire, &narrowed.to_bytes()), "not-authorized");

    let without = |kept: &[usize]| {
        let caveats = kept.iter().map(|at| narrowed.caveats[*at].clone()).collect();
        Chain { caveats, ..narrowed.clone() }.to_bytes()
    };
    let mut bad = vec![
        ("widened by all caveats", without(&[])),
        ("widened by the last caveat", without(&[0])),
        ("widened by the first caveat", without(&[1])),
        ("reordered", without(&[1, 0])),
        ("with a caveat twice", without(&[0, 1, 1])),
        ("with an unknown caveat", minted.clone().and(&[0x82, 0x18, 0x63, 0x81, 1]).to_bytes()),
        (
            "with a caveat of no canonical form",
            minted.clone().and(&[0x82, 1, 0x81, 0x18, 1]).to_bytes(),
        ),
        ("with an empty caveat", minted.clone().and(&[]).to_bytes()),
        ("with bytes after it", [minted.to_bytes(), vec![0]].concat()),
        ("longer than a handle may be", minted.clone().and(&[0; 5_000]).to_bytes()),
        ("of no bytes", Vec::new()),
        ("of another service", foreign(&minted)),
        ("for another purpose", with_root(&minted, "sign.bound:invoice", "sign.bound:invoicf")),
    ];
    for length in [1, 10, minted.to_bytes().len() / 2, minted.to_bytes().len() - 1] {
        bad.push(("truncated", minted.to_bytes()[..length].to_vec()));
    }
    for bit in (0..minted.to_bytes().len() * 8).step_by(97) {
        let mut flipped = minted.to_bytes();
        flipped[bit / 8] ^= 1 << (bit % 8);
        bad.push(("with a bit flipped", flipped));
    }
    let records = refused_records(&service).len();
    let before = counted(&wire);
    for (how, handle) in &bad {
        assert_eq!(outcome(&wire, handle), "handle-invalid", "{how}");
    }
    let expected = u64::try_from(bad.len()).unwrap();
    assert_eq!(counted(&wire) - before, expected);
    assert_eq!(refused_records(&service).len(), records, "nobody was authenticated");
}

/// Handles refused as invalid, by the front: it counts its own refusals and those that it passes on.
fn counted(wire: &Wire) -> u64 {
    counter(wire, "chancery_front_refusals_total{code=\"handle-invalid\"}")
}

/// The same root, minted under a handle key of somebody else's.
fn foreign(chain: &Chain) -> Vec<u8> {
    let key = HandleKeyId(1);
    let root = cbor::decode(&chain.root, "root").unwrap();
    handle::mint(key, &root, &HandleMac::new([(key, &[7; 32])])).unwrap()
}

fn with_root(chain: &Chain, from: &str, to: &str) -> Vec<u8> {
    let at = chain.root.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
    let mut root = chain.root.clone();
    root[at..at + to.len()].copy_from_slice(to.as_bytes());
    Chain { root, ..chain.clone() }.to_bytes()
}

/// Handles that open, why they do not count, and the code.
fn void_handles(service: &Service) -> Vec<(&'static str, KeyHandle, &'static str)> {
    let client = service.client();
    let key = create_key(&client, "invoices", "sign.bound:invoice", "ed25519");
    let issued = || issue(&client, new_handle(&key));
    let (_, of_mac) = key_and_handle(&client, "webhooks", "mac.bound:webhook", "hmac-sha-256");
    let short = issue(&client, NewHandle { ttl_ms: 1, ..new_handle(&key) });
    eventually("a short handle has run out", || unix_ms() > short.expires_ms() + 1);
    let revoked = issued();
    let child = revoked.narrow(&[Caveat::Expires(unix_ms() + 60_000)]).unwrap();
    let link = revoked.revocation_id().unwrap();
    committed(ask(&client, &Command::RevokeHandle { link }));
    let pinned = issued().narrow(&[Caveat::Pin(Pair::parse("customer=7").unwrap())]).unwrap();
    let all = Caveat::Operations(Operations::of(&Operation::ALL));
    let verifies = Caveat::Operations(Operations::of(&[Operation::Verify]));
    let widened = issued().narrow(&[verifies, all]).unwrap();
    let later = issued().narrow(&[Caveat::Expires(1), Caveat::Expires(u64::MAX)]).unwrap();
    let bound = issued().narrow(&[Caveat::Holder([3; 32])]).unwrap();
    vec![
        ("expired", short, "handle-expired"),
        ("narrowed to a later end", later, "handle-expired"),
        ("revoked", revoked, "handle-expired"),
        ("narrowed from a revoked one", child, "handle-expired"),
        ("of a key of another type", of_mac, "not-authorized"),
        ("for another context", pinned, "not-authorized"),
        ("narrowed to more than it was", widened, "not-authorized"),
        ("of a holder who proves nothing", bound, "proof-invalid"),
    ]
}

#[test]
fn a_handle_that_does_not_count_is_refused_and_recorded() {
    let service = Service::start();
    let void = void_handles(&service);
    let wire = Wire::to(&service);
    let before = refused_records(&service).len();
    for (how, handle, code) in &void {
        assert_eq!(outcome(&wire, handle.expose_bytes()), *code, "{how}");
    }
    let records = refused_records(&service);
    let recorded: Vec<_> = records[before..].iter().map(|record| record.code.as_str()).collect();
    let codes: Vec<_> = void.iter().map(|(_, _, code)| *code).collect();
    assert_eq!(recorded, codes);
    assert!(records[before..].iter().all(|record| record.operation == "sign"));
}

#[test]
fn handles_issued_before_a_revocation_of_all_are_refused() {
    let service = Service::start();
    let client = service.client();
    let (key, before) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    committed(ask(&client, &Command::RevokeIssued { key: key.name.clone() }));
    let wire = Wire::to(&service);
    assert_eq!(outcome(&wire, before.expose_bytes()), "handle-expired");
    assert_eq!(outcome(&wire, issue(&client, new_handle(&key)).expose_bytes()), "ok");
}
