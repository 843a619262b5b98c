//! Principals besides the operator, and readings of the audit, for the other tests.

use chancery_api::http::replies::{AnswerObject, RecordObject};
use chancery_client::{Client, Profile};
use chancery_core::command::{AuditQuery, Command};
use chancery_core::id::{OperationId, PrincipalId};
use chancery_core::principal::Role;
use chancery_core::suite::Suite;
use chancery_crypto::key::PrivateKey;
use zeroize::Zeroizing;

use crate::harness::{Service, ask, committed, name};

/// A principal that the operator made.
pub(super) struct Person {
    pub(super) id: PrincipalId,
    pub(super) profile: Profile,
}

impl Person {
    /// Makes a principal by command, with a key made of `seed`.
    pub(super) fn new(service: &Service, called: &str, role: Role, seed: u8) -> Self {
        let seed = [seed; 32];
        let command = Command::CreatePrincipal { name: name(called), role, public: public(&seed) };
        let answer = committed(ask(&service.client(), &command)).answer;
        let AnswerObject::Principal(id) = answer else { panic!("no principal but {answer:?}") };
        let signing_key = Zeroizing::new(seed);
        let profile = Profile { principal: id, role, signing_key, ..service.profile() };
        Self { id, profile }
    }

    /// A client of this principal.
    pub(super) fn client(&self) -> Client {
        Client::new(&self.profile).unwrap()
    }
}

/// The public half of an Ed25519 seed: the last 32 bytes of its `SubjectPublicKeyInfo` (RFC 8410, 4).
fn public(seed: &[u8; 32]) -> [u8; 32] {
    let key = PrivateKey::from_secret(Suite::Ed25519, seed).unwrap();
    *key.public().unwrap().spki().last_chunk().unwrap()
}

/// The audit records that name an operation id.
pub(super) fn records(client: &Client, operation: OperationId) -> Vec<RecordObject> {
    query(client, AuditQuery { operation: Some(operation), limit: 1_000, ..AuditQuery::default() })
}

/// The audit records of a query.
pub(super) fn query(client: &Client, query: AuditQuery) -> Vec<RecordObject> {
    match committed(ask(client, &Command::QueryAudit(query))).answer {
        AnswerObject::Records(records) => records,
        other => panic!("no records but {other:?}"),
    }
}

/// How many of the records say that something was done.
pub(super) fn effects(records: &[RecordObject]) -> usize {
    records.iter().filter(|record| record.outcome == "committed").count()
}
