//! A connection to one service: uses of keys through handles, and commands under a signature.

use std::fmt;
use std::path::PathBuf;

use chancery_api::http::HttpError;
use chancery_api::http::commands::request_of;
use chancery_api::http::fields::Base64;
use chancery_api::http::problem::{self, Code, Problem};
use chancery_api::http::replies::CommandAnswer;
use chancery_api::http::signature::signature_fields;
use chancery_api::http::uses::{BatchAnswer, UseAnswer, UseBody};
use chancery_core::command::Command;
use chancery_core::context::Context;
use chancery_core::handle::Operation;
use chancery_core::id::OperationId;
use chancery_core::reason::Reason;
use chancery_crypto::key::KeyError;

use crate::handle::KeyHandle;
use crate::hints::words;
use crate::moment;
use crate::outcome::{Outcome, Refusal};
use crate::principal::{CommandSignature, Occasion, Principal};
use crate::profile::Profile;
use crate::transport::{Answer, CaError, Call, Failure, Transport};
use crate::uses::{self, Input, Manner, Prepared, Receipt, Used};

/// Signs without showing the key: the capability that the service exists for.
pub trait Signer {
    /// Signs a message of at most 64 KiB with the key of `handle`, in the context that the handle pins.
    fn sign(&self, handle: &KeyHandle, message: &[u8]) -> Outcome<Signature>;
}

/// A signature with where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The signature, in the form of the key's purpose.
    pub bytes: Vec<u8>,
    /// The key version that made it.
    pub version: u32,
    /// The position of its record in the log.
    pub log_index: u64,
    /// The operation.
    pub operation: OperationId,
}

/// One item of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// What it is of.
    pub input: Input<'a>,
    /// Its operation id.
    pub operation: OperationId,
    /// Its context.
    pub context: &'a Context,
}

/// No client could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The authority's certificate is none.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The signing key is none.
    #[error("the profile's `signing_key` is not usable")]
    Key(#[from] KeyError),
}

/// A client of one service, for one principal.
pub struct Client {
    transport: Transport,
    principal: Principal,
    socket: Option<PathBuf>,
}

impl Client {
    /// A client for a profile. Connects when it is first used.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if the profile's key or certificate is not one.
    pub fn new(profile: &Profile) -> Result<Self, ClientError> {
        let (transport, principal) = (Transport::new(profile)?, Principal::new(profile)?);
        Ok(Self { transport, principal, socket: None })
    }

    /// Gives commands to the signer's own socket, past the front. Uses of keys go through the front as ever.
    #[must_use]
    pub fn past_the_front(self, socket: PathBuf) -> Self {
        Self { socket: Some(socket), ..self }
    }

    /// Signs a message or a digest, in the manner that is said.
    pub fn sign_with(
        &self,
        handle: &KeyHandle,
        input: Input<'_>,
        manner: &Manner<'_>,
    ) -> Outcome<Used> {
        self.perform(handle, Operation::Sign, uses::input_body(input), manner)
    }

    /// Verifies a signature; one that does not hold is refused as `verification-failed`. For a format that
    /// carries what it signs ([`crate::carries_payload`]) the input is the empty message.
    pub fn verify(
        &self,
        handle: &KeyHandle,
        input: Input<'_>,
        signature: &[u8],
        manner: &Manner<'_>,
    ) -> Outcome<Used> {
        let body =
            UseBody { signature: Some(Base64(signature.to_vec())), ..uses::input_body(input) };
        self.perform(handle, Operation::Verify, body, manner)
    }

    /// MACs a message or a digest.
    pub fn mac(&self, handle: &KeyHandle, input: Input<'_>, manner: &Manner<'_>) -> Outcome<Used> {
        self.perform(handle, Operation::Mac, uses::input_body(input), manner)
    }

    /// Verifies a MAC; one that does not hold is refused as `verification-failed`.
    pub fn verify_mac(
        &self,
        handle: &KeyHandle,
        input: Input<'_>,
        mac: &[u8],
        manner: &Manner<'_>,
    ) -> Outcome<Used> {
        let body = UseBody { mac: Some(Base64(mac.to_vec())), ..uses::input_body(input) };
        self.perform(handle, Operation::VerifyMac, body, manner)
    }

    /// Encrypts a plaintext of at most 64 KiB.
    pub fn encrypt(
        &self,
        handle: &KeyHandle,
        plaintext: &[u8],
        manner: &Manner<'_>,
    ) -> Outcome<Used> {
        self.perform(
            handle,
            Operation::Encrypt,
            uses::input_body(Input::Message(plaintext)),
            manner,
        )
    }

    /// Decrypts what [`Self::encrypt`] gave.
    pub fn decrypt(
        &self,
        handle: &KeyHandle,
        ciphertext: &[u8],
        manner: &Manner<'_>,
    ) -> Outcome<Used> {
        self.perform(
            handle,
            Operation::Decrypt,
            uses::input_body(Input::Message(ciphertext)),
            manner,
        )
    }

    /// Derives `length` bytes for the context.
    pub fn derive(&self, handle: &KeyHandle, length: u32, manner: &Manner<'_>) -> Outcome<Used> {
        let body = UseBody { length: Some(length), ..UseBody::default() };
        self.perform(handle, Operation::Derive, body, manner)
    }

    /// Makes a data key; [`crate::MadeDataKey::take`] takes the output apart.
    pub fn generate_data_key(&self, handle: &KeyHandle, manner: &Manner<'_>) -> Outcome<Used> {
        self.perform(handle, Operation::GenerateDataKey, UseBody::default(), manner)
    }

    /// Unwraps a data key.
    pub fn unwrap(&self, handle: &KeyHandle, wrapped: &[u8], manner: &Manner<'_>) -> Outcome<Used> {
        self.perform(handle, Operation::Unwrap, uses::input_body(Input::Message(wrapped)), manner)
    }

    /// Encrypts a ciphertext or a wrapped key again, under the version that protects now.
    pub fn rewrap(&self, handle: &KeyHandle, wrapped: &[u8], manner: &Manner<'_>) -> Outcome<Used> {
        self.perform(handle, Operation::Rewrap, uses::input_body(Input::Message(wrapped)), manner)
    }

    /// Draws `length` random bytes. If no answer comes, they are lost: nothing finds them again.
    pub fn random(&self, handle: &KeyHandle, length: u32, manner: &Manner<'_>) -> Outcome<Used> {
        let body = UseBody { length: Some(length), ..UseBody::default() };
        self.perform(handle, Operation::Random, body, manner)
    }

    /// Signs, MACs or encrypts many inputs of one handle in one request. The answers are in their order;
    /// one item's refusal is its own. `manner` says receipts and holders; ids and contexts are the items'.
    pub fn batch(
        &self,
        handle: &KeyHandle,
        operation: Operation,
        items: &[Item<'_>],
        manner: &Manner<'_>,
    ) -> Outcome<Vec<Outcome<Used>>> {
        let prepared = batch_bodies(handle, items)
            .and_then(|bodies| uses::prepare_batch(handle, operation, bodies, manner));
        let path = format!("/v1/{}/batch", operation.name());
        let answer: Outcome<BatchAnswer> = match prepared {
            Ok(prepared) => self.post(&path, &prepared, manner.operation),
            Err(refusal) => return Outcome::Refused(refusal),
        };
        answer.and_then(|answer| match_items(answer, items, manner.operation))
    }

    /// As [`Self::batch`], each message in its own context, and none with an operation id: for what harms nothing when it is
    /// done once more, such as encrypting again. The service remembers ids for a day, and has room for a million.
    pub fn batch_without_ids(
        &self,
        handle: &KeyHandle,
        operation: Operation,
        items: &[(&[u8], &Context)],
        manner: &Manner<'_>,
    ) -> Outcome<Vec<Outcome<Used>>> {
        let body = |&(message, context): &(&[u8], &Context)| {
            Ok(UseBody {
                context: uses::completed(handle, context)?,
                routing_key: manner.routing_key.map(str::to_owned),
                ..uses::input_body(Input::Message(message))
            })
        };
        let bodies: Result<Vec<_>, Refusal> = items.iter().map(body).collect();
        let prepared =
            bodies.and_then(|bodies| uses::prepare_batch(handle, operation, bodies, manner));
        let path = format!("/v1/{}/batch", operation.name());
        let answer: Outcome<BatchAnswer> = match prepared {
            Ok(prepared) => self.post(&path, &prepared, manner.operation),
            Err(refusal) => return Outcome::Refused(refusal),
        };
        answer.and_then(|answer| {
            if answer.results.len() != items.len() {
                return Outcome::Unknown(manner.operation);
            }
            let results = answer.results.into_iter().map(|answer| used(answer, manner.operation));
            Outcome::Committed(results.collect())
        })
    }

    /// Gives a command under the principal's signature. A repeat with the same id is the same operation.
    pub fn command(&self, command: &Command, operation: OperationId) -> Outcome<CommandAnswer> {
        let signed = match self.signed(command, operation) {
            Ok(signed) => signed,
            Err(refusal) => return Outcome::Refused(refusal),
        };
        if let Some(socket) = &self.socket {
            return crate::socket::give(socket, command, &signed);
        }
        match self.answered(command, &signed) {
            Ok(answer) => answer.and_then(|answer| read(&answer, operation)),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// Reads frames of the audit log, by [`Command::ReadFrames`]: a page of them as it came.
    pub fn frames(&self, command: &Command, operation: OperationId) -> Outcome<Vec<u8>> {
        let answered =
            self.signed(command, operation).and_then(|signed| self.answered(command, &signed));
        match answered {
            Ok(answer) => answer.and_then(|answer| match answer.status {
                200 => Outcome::Committed(answer.body),
                _ => refused_or_unknown(&answer, operation),
            }),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    fn signed(
        &self,
        command: &Command,
        operation: OperationId,
    ) -> Result<CommandSignature, Refusal> {
        let occasion = Occasion { operation, now_s: moment::since_1970().as_secs() };
        let signed = self.principal.sign(command, occasion);
        signed.map_err(|error| Refusal::new(Reason::Unavailable, error))
    }

    /// What the front answers to a command.
    fn answered(
        &self,
        command: &Command,
        signed: &CommandSignature,
    ) -> Result<Outcome<Answer>, Refusal> {
        let malformed =
            |error: HttpError| Refusal { code: error.code(), detail: error.to_string() };
        let request = request_of(command).map_err(malformed)?;
        let headers = signature_fields(&signed.parameters, &signed.digest, &signed.signature);
        let call = Call {
            method: request.method,
            path: &request.target,
            headers: &headers,
            body: request.body.as_deref(),
        };
        Ok(self.called(&call, signed.parameters.operation))
    }

    /// Reads a published file of the log, such as `checkpoint`; anybody may.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]; `unknown-route` if there is no such file.
    pub fn log_file(&self, path: &str) -> Result<Vec<u8>, Refusal> {
        let path = format!("/log/{path}");
        let call = Call { method: "GET", path: &path, headers: &[], body: None };
        let unavailable = |detail: String| Refusal::new(Reason::Unavailable, detail);
        match self.transport.call(&call) {
            Ok(Answer { status: 200, body }) => Ok(body),
            Ok(answer) => match serde_json::from_slice::<Problem>(&answer.body) {
                Ok(problem) => Err(refusal(&problem.code, problem.detail)),
                Err(_) => Err(unavailable("the answer is not the service's".into())),
            },
            Err(Failure::BeforeSending(error)) => {
                Err(unavailable(format!("the service cannot be reached: {error}")))
            }
            Err(Failure::AfterSending) => Err(unavailable("no answer came".into())),
        }
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    fn perform(
        &self,
        handle: &KeyHandle,
        operation: Operation,
        body: UseBody,
        manner: &Manner<'_>,
    ) -> Outcome<Used> {
        let prepared = match uses::prepare(handle, operation, body, manner) {
            Ok(prepared) => prepared,
            Err(refusal) => return Outcome::Refused(refusal),
        };
        let answer = self.post(&format!("/v1/{}", operation.name()), &prepared, manner.operation);
        answer.and_then(|answer: UseAnswer| used(answer, manner.operation))
    }

    fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        prepared: &Prepared,
        operation: OperationId,
    ) -> Outcome<T> {
        let call =
            Call { method: "POST", path, headers: &prepared.headers, body: Some(&prepared.body) };
        self.exchange(&call, operation)
    }

    fn exchange<T: serde::de::DeserializeOwned>(
        &self,
        call: &Call<'_>,
        operation: OperationId,
    ) -> Outcome<T> {
        self.called(call, operation).and_then(|answer| read(&answer, operation))
    }

    fn called(&self, call: &Call<'_>, operation: OperationId) -> Outcome<Answer> {
        match self.transport.call(call) {
            Ok(answer) => Outcome::Committed(answer),
            Err(Failure::AfterSending) => Outcome::Unknown(operation),
            Err(Failure::BeforeSending(error)) => {
                let detail = format!("the service cannot be reached: {error}");
                Outcome::Refused(Refusal::new(Reason::Unavailable, detail))
            }
        }
    }
}

impl Signer for Client {
    fn sign(&self, handle: &KeyHandle, message: &[u8]) -> Outcome<Signature> {
        let operation = match moment::operation_id() {
            Ok(operation) => operation,
            Err(error) => return Outcome::Refused(Refusal::new(Reason::Unavailable, error)),
        };
        let context = Context::default();
        let manner = Manner {
            operation,
            context: &context,
            receipt: Receipt::Unwanted,
            holders: &[],
            routing_key: None,
        };
        self.sign_with(handle, Input::Message(message), &manner).map(|used| Signature {
            bytes: used.output,
            version: used.version,
            log_index: used.log_index,
            operation: used.operation,
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("principal", &self.principal.id()).finish_non_exhaustive()
    }
}

fn batch_bodies(handle: &KeyHandle, items: &[Item<'_>]) -> Result<Vec<UseBody>, Refusal> {
    let bodies = items.iter().map(|item| {
        Ok(UseBody {
            context: uses::completed(handle, item.context)?,
            operation_id: Some(item.operation),
            ..uses::input_body(item.input)
        })
    });
    bodies.collect()
}

/// Pairs the answers of a batch with its items; another number of them is no answer at all.
fn match_items(
    answer: BatchAnswer,
    items: &[Item<'_>],
    operation: OperationId,
) -> Outcome<Vec<Outcome<Used>>> {
    if answer.results.len() != items.len() {
        return Outcome::Unknown(operation);
    }
    let results =
        answer.results.into_iter().zip(items).map(|(answer, item)| used(answer, item.operation));
    Outcome::Committed(results.collect())
}

/// What an answer says; one that says nothing clear is no answer.
fn used(answer: UseAnswer, operation: OperationId) -> Outcome<Used> {
    match (answer.outcome, answer.version, answer.log_index) {
        (problem::Outcome::Committed, Some(version), Some(log_index)) => Outcome::Committed(Used {
            operation: answer.operation_id.unwrap_or(operation),
            output: answer.output.map(|bytes| bytes.0).unwrap_or_default(),
            version,
            log_index,
            receipt: answer.receipt.map(|bytes| bytes.0).unwrap_or_default(),
        }),
        (problem::Outcome::Refused, ..) => {
            let text = answer.code.unwrap_or_default();
            Outcome::Refused(refusal(&text, None))
        }
        // Done before, and the answer is withheld: asking again changes nothing.
        (problem::Outcome::Committed, ..) if answer.code.is_some() => {
            Outcome::Refused(refusal(&answer.code.unwrap_or_default(), None))
        }
        _ => Outcome::Unknown(operation),
    }
}

fn read<T: serde::de::DeserializeOwned>(answer: &Answer, operation: OperationId) -> Outcome<T> {
    if answer.status == 200 {
        let read = serde_json::from_slice(&answer.body);
        return read.map_or(Outcome::Unknown(operation), Outcome::Committed);
    }
    refused_or_unknown(answer, operation)
}

/// What an answer says that is no success.
fn refused_or_unknown<T>(answer: &Answer, operation: OperationId) -> Outcome<T> {
    match serde_json::from_slice::<Problem>(&answer.body) {
        // One that says "committed" is of an earlier attempt whose answer is withheld.
        Ok(problem) if problem.outcome != problem::Outcome::Unknown => {
            Outcome::Refused(refusal(&problem.code, problem.detail))
        }
        // Whoever answered so was not the service, or does not know either.
        Ok(_) | Err(_) => Outcome::Unknown(operation),
    }
}

pub(crate) fn refusal(code: &str, detail: Option<String>) -> Refusal {
    match Code::from_text(code) {
        Some(code) => Refusal { code, detail: detail.unwrap_or_else(|| words(code).into()) },
        // A code that a newer service has: it is a refusal all the same.
        None => Refusal::new(
            Reason::Unavailable,
            format!("the service refused for an unknown reason, `{code}`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATION: OperationId = OperationId::from_bytes([2; 16]);

    fn answer(status: u16, body: &str) -> Outcome<CommandAnswer> {
        read(&Answer { status, body: body.into() }, OPERATION)
    }

    fn problem(outcome: problem::Outcome) -> String {
        let problem = Problem::new(Code::Reason(Reason::NotAuthorized), outcome);
        String::from_utf8(chancery_api::http::render(&problem)).unwrap()
    }

    #[test]
    fn only_the_services_own_refusal_proves_that_nothing_was_done() {
        assert!(matches!(answer(403, &problem(problem::Outcome::Refused)), Outcome::Refused(_)));
        for (status, body) in [
            (403, problem(problem::Outcome::Unknown)),
            (502, "<html>bad gateway</html>".into()),
            (302, String::new()),
            (200, "{}".into()),
            (200, String::new()),
        ] {
            assert_eq!(answer(status, &body), Outcome::Unknown(OPERATION), "{status} {body}");
        }
    }

    #[test]
    fn an_answer_that_lacks_its_position_is_unknown() {
        let answer = |json: &str| used(serde_json::from_str(json).unwrap(), OPERATION);
        let whole = answer(r#"{"outcome":"committed","output":"AQ==","version":1,"log_index":7}"#);
        assert_eq!(whole.committed().unwrap().output, [1]);
        assert_eq!(
            answer(r#"{"outcome":"committed","output":"AQ=="}"#),
            Outcome::Unknown(OPERATION)
        );
        assert!(matches!(
            answer(r#"{"outcome":"refused","code":"key-unusable"}"#),
            Outcome::Refused(_)
        ));
    }

    #[test]
    fn an_answer_that_is_withheld_is_not_asked_for_for_ever() {
        let code = Code::Reason(Reason::ResultWithheld);
        let problem = Problem::new(code, code.outcome());
        let body = String::from_utf8(chancery_api::http::render(&problem)).unwrap();
        let Outcome::Refused(refusal) = answer(403, &body) else { panic!("{body}") };
        assert_eq!(refusal.code, code);
        let item = r#"{"outcome":"committed","code":"result-withheld"}"#;
        let Outcome::Refused(refusal) = used(serde_json::from_str(item).unwrap(), OPERATION) else {
            panic!("{item}")
        };
        assert_eq!(refusal.code, code);
    }

    #[test]
    fn a_code_of_a_newer_service_is_a_refusal() {
        assert!(refusal("moon-phase", None).detail.contains("moon-phase"));
    }

    #[test]
    fn a_batch_with_another_number_of_answers_is_unknown() {
        let empty = BatchAnswer { results: Vec::new() };
        let context = Context::default();
        let item = Item { input: Input::Message(b"m"), operation: OPERATION, context: &context };
        assert_eq!(match_items(empty, &[item], OPERATION), Outcome::Unknown(OPERATION));
    }
}
