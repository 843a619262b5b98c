//! A front that lies. It has the socket, and nothing that a principal or a holder signs.
//!
//! Whatever it says about who calls or what was asked, the signer rebuilds from the signed command itself.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_api::frame::{HEADER_BYTES, Header, Kind};
use chancery_api::message::{CommandReply, CommandRequest};
use chancery_client::{CommandSignature, Occasion, Principal, Profile};
use chancery_core::cbor;
use chancery_core::command::{Command, SignatureParameters};
use chancery_core::limits::FRAME_BYTES_MAX;
use chancery_core::principal::Role;
use chancery_core::reason::Reason;
use chancery_core::state::KeyEvent;
use chancery_core::suite::Suite;
use chancery_crypto::key::PrivateKey;
use chancery_crypto::primitive::sha256;

use super::frames::{Closed, FakeFront, reason, sign_request};
use super::people::Person;
use crate::harness::{Service, committed, create_key, fresh, key_and_handle, name, sign};

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn suspend(key: &str) -> Command {
    Command::ChangeVersion { key: name(key), version: None, event: KeyEvent::Suspend }
}

/// What a principal signs at a time.
pub(super) fn signed_at(profile: &Profile, command: &Command, now_s: u64) -> CommandSignature {
    let occasion = Occasion { operation: fresh(), now_s };
    Principal::new(profile).unwrap().sign(command, occasion).unwrap()
}

/// The signer's reason to refuse a command under a signature.
#[track_caller]
fn refusal(front: &mut FakeFront, command: &Command, signed: &CommandSignature) -> Reason {
    match front.command(&request(&cbor::encode(command), signed)) {
        CommandReply::Refused { reason, .. } => reason,
        other => panic!("not refused but {other:?}"),
    }
}

pub(super) fn request<'c>(command: &'c [u8], signed: &CommandSignature) -> CommandRequest<'c> {
    CommandRequest { command, parameters: signed.parameters.clone(), signature: signed.signature }
}

fn service() -> Service {
    let service = Service::start();
    for key in ["invoices", "receipts"] {
        create_key(&service.client(), key, "sign.bound:invoice", "ed25519");
    }
    service
}

#[test]
fn a_signature_is_good_for_its_command_alone() {
    let service = service();
    let (profile, mut front) = (service.profile(), FakeFront::connect(&service));
    let signed = signed_at(&profile, &suspend("invoices"), now_s());
    assert_eq!(refusal(&mut front, &suspend("receipts"), &signed), Reason::SignatureInvalid);
    let bytes = cbor::encode(&suspend("invoices"));
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let reply = front.command(&request(&altered, &signed));
        assert!(matches!(reply, CommandReply::Refused { .. }), "bit {bit}: {reply:?}");
    }
    let reply = front.command(&request(&bytes, &signed));
    assert!(matches!(reply, CommandReply::Committed { .. }), "{reply:?}");
}

#[test]
fn a_signature_names_its_principal_its_operation_and_its_life() {
    let service = service();
    let other = Person::new(&service, "second", Role::Operator, 7);
    let (profile, mut front) = (service.profile(), FakeFront::connect(&service));
    let command = suspend("invoices");
    let signed = signed_at(&profile, &command, now_s());
    let with = |change: fn(&mut SignatureParameters, &Person)| {
        let mut altered = signed.clone();
        change(&mut altered.parameters, &other);
        altered
    };
    for altered in [
        with(|parameters, other| parameters.principal = other.id),
        with(|parameters, _| parameters.operation = fresh()),
        with(|parameters, _| parameters.created_s -= 1),
        with(|parameters, _| parameters.expires_s += 1),
    ] {
        let parameters = altered.parameters.clone();
        let reason = refusal(&mut front, &command, &altered);
        assert_eq!(reason, Reason::SignatureInvalid, "{parameters:?}");
    }
    let nobody = with(|parameters, _| {
        parameters.principal = chancery_core::id::PrincipalId::from_bytes([9; 16]);
    });
    assert_eq!(refusal(&mut front, &command, &nobody), Reason::SignatureInvalid);
}

#[test]
fn a_signature_over_another_path_does_not_hold() {
    let service = service();
    let (profile, mut front) = (service.profile(), FakeFront::connect(&service));
    let command = suspend("invoices");
    let mut signed = signed_at(&profile, &command, now_s());
    let digest = STANDARD.encode(sha256(&[&cbor::encode(&command)]));
    let base = signed.parameters.base(&command, &digest);
    let other = base.replace("/v1/keys/invoices/suspend", "/v1/keys/receipts/suspend");
    assert_ne!(base, other);
    let key = PrivateKey::from_secret(Suite::Ed25519, profile.signing_key.as_slice()).unwrap();
    signed.signature = *key.sign(other.as_bytes()).unwrap().first_chunk().unwrap();
    assert_eq!(refusal(&mut front, &command, &signed), Reason::SignatureInvalid);
    signed.signature = *key.sign(base.as_bytes()).unwrap().first_chunk().unwrap();
    let reply = front.command(&request(&cbor::encode(&command), &signed));
    assert!(matches!(reply, CommandReply::Committed { .. }), "{reply:?}");
}

#[test]
fn a_signature_that_has_run_out_or_begins_ahead_is_refused() {
    let service = service();
    let (profile, mut front) = (service.profile(), FakeFront::connect(&service));
    let command = suspend("invoices");
    for at in [now_s() - 3_600, now_s() - 61, now_s() + 90] {
        let signed = signed_at(&profile, &command, at);
        assert_eq!(refusal(&mut front, &command, &signed), Reason::SignatureExpired, "{at}");
    }
}

#[test]
fn a_replayed_command_is_the_same_operation_and_has_no_second_effect() {
    let service = service();
    let (profile, mut front) = (service.profile(), FakeFront::connect(&service));
    let command = suspend("invoices");
    let signed = signed_at(&profile, &command, now_s());
    let bytes = cbor::encode(&command);
    let first = front.command(&request(&bytes, &signed));
    assert!(matches!(first, CommandReply::Committed { .. }), "{first:?}");
    let resume =
        Command::ChangeVersion { key: name("invoices"), version: None, event: KeyEvent::Resume };
    committed(service.client().command(&resume, fresh()));
    assert_eq!(front.command(&request(&bytes, &signed)), first);
    let handle = crate::harness::issue(&service.client(), {
        let key = create_key(&service.client(), "third", "sign.bound:invoice", "ed25519");
        let mut new = crate::harness::new_handle(&key);
        new.key = name("invoices");
        new
    });
    committed(sign(&service.client(), &handle, b"not suspended", fresh()));
}

#[test]
fn a_handle_with_any_bit_flipped_does_not_open() {
    let service = Service::start();
    let (_, handle) =
        key_and_handle(&service.client(), "invoices", "sign.bound:invoice", "ed25519");
    let mut front = FakeFront::connect(&service);
    let bytes = handle.expose_bytes().to_vec();
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let mut request = sign_request(&handle, b"message", &[]);
        request.handle = &altered;
        assert_eq!(reason(&front.uses(&request)), Reason::HandleInvalid, "bit {bit}");
    }
    for length in 0..bytes.len() {
        let mut request = sign_request(&handle, b"message", &[]);
        request.handle = &bytes[..length];
        assert_eq!(reason(&front.uses(&request)), Reason::HandleInvalid, "{length} bytes");
    }
    let other = Service::start();
    let mut foreign = FakeFront::connect(&other);
    let request = sign_request(&handle, b"message", &[]);
    assert_eq!(reason(&foreign.uses(&request)), Reason::HandleInvalid);
}

#[test]
fn what_is_no_frame_closes_its_lane_and_no_other() {
    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    let mut neighbour = FakeFront::connect(&service);
    let header = |kind, length: usize| {
        let length = u32::try_from(length).unwrap();
        Header { kind, length, tag: 1 }.to_bytes().to_vec()
    };
    let unknown_kind = [1, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    let no_body = [header(Kind::Use, 3), b"\xff\xff\xff".to_vec()].concat();
    for garbage in [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        vec![0; 4_096],
        vec![0xff; 1 << 20],
        header(Kind::Use, FRAME_BYTES_MAX + 1),
        header(Kind::Command, usize::try_from(u32::MAX).unwrap()),
        header(Kind::UseReply, 0),
        header(Kind::Health, 0),
        unknown_kind,
        no_body,
    ] {
        let mut front = FakeFront::connect(&service);
        assert!(front.is_served());
        front.send(&garbage);
        assert_eq!(front.answer(), Err(Closed), "{} bytes", garbage.len());
        assert!(neighbour.is_served());
    }
    committed(sign(&client, &handle, b"message", fresh()));
}

#[test]
fn frames_that_are_cut_short_or_never_end_cost_nobody_else() {
    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    let length = u32::try_from(FRAME_BYTES_MAX).unwrap();
    let header = Header { kind: Kind::Use, length, tag: 1 }.to_bytes();
    let halves: Vec<_> = (0..8)
        .map(|_| {
            let mut front = FakeFront::connect(&service);
            front.send(&header[..HEADER_BYTES]);
            front.send(&[0x85; 1_000]);
            front
        })
        .collect();
    for message in [b"one", b"two"] {
        committed(sign(&client, &handle, message, fresh()));
    }
    drop(halves);
    committed(sign(&client, &handle, b"three", fresh()));
}

#[test]
fn more_lanes_than_there_may_be_are_closed_and_those_there_go_on() {
    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    let mut lanes: Vec<_> = (0..80).map(|_| FakeFront::connect(&service)).collect();
    let served = lanes.iter_mut().filter_map(|lane| lane.is_served().then_some(())).count();
    assert!((32..=64).contains(&served), "{served}");
    committed(sign(&client, &handle, b"message", fresh()));
    drop(lanes);
    crate::harness::eventually("lanes are given back", || FakeFront::connect(&service).is_served());
}
