//! One request: from its head to its answer.
//!
//! The route decides what is read: the head in full, then the body within its bounds, then one frame
//! leaves for the signer. What came back is written as JSON; nothing is decided here.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use chancery_api::chancery_core::cbor;
use chancery_api::chancery_core::handle::Operation;
use chancery_api::chancery_core::id::OperationId;
use chancery_api::chancery_core::reason::Reason;
use chancery_api::http::commands::{CommandParts, command_from_request};
use chancery_api::http::problem::{Code, FrontCode, Outcome, Problem};
use chancery_api::http::replies::CommandAnswer;
use chancery_api::http::routes::{self, Found, PublicKind, RequestLine, Target};
use chancery_api::http::signature::{SignatureFields, parse_signature};
use chancery_api::http::uses::{
    BatchAnswer, UseAnswer, Uses, parse_authorization, parse_idempotency_key, parse_proofs,
};
use chancery_api::http::{
    AUTHORIZATION, COMMAND_DIGEST, HANDLE_PROOF, HttpError, IDEMPOTENCY_KEY, MEDIA_BYTES,
    MEDIA_JSON, SIGNATURE, SIGNATURE_INPUT, parse,
};
use chancery_api::message::{
    CommandReply, CommandRequest, HealthReply, HolderProof, UseReply, UseRequest, UseResult,
    frames_of,
};
use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderMap, IF_NONE_MATCH};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use serde_json::json;
use tokio::sync::oneshot;

use crate::admission::Admission;
use crate::intake::{self, check_head, check_media, check_no_body, discard, field};
use crate::limits::{
    ANSWER_BYTES_MAX, ANSWERS_BYTES_MAX, BODIES_BYTES_MAX, FrontLimits, HEALTH_DEADLINE,
};
use crate::link::{Link, Question, SendError};
use crate::log_files::{self, LogFiles};
use crate::metrics::{Answered, Metrics, append};
use crate::public::Asked;
use crate::reply::{Refusal, Reply};
use crate::report::Reporter;
use crate::room::{Room, Taken};

/// The media type of `/metrics`.
const MEDIA_METRICS: &str = "text/plain; version=0.0.4";

/// What all runtimes share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The signer's socket.
    pub signer_socket: PathBuf,
    /// How long to wait and how much to take.
    pub limits: FrontLimits,
    /// Who may connect.
    pub admission: Arc<Admission>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Where errors are told.
    pub reporter: Arc<Reporter>,
    /// The description of the API.
    pub openapi: Bytes,
    /// The published files of the log.
    pub log: Option<Arc<dyn LogFiles>>,
}

/// What one runtime serves with.
#[derive(Debug)]
pub(crate) struct Front {
    /// How long to wait and how much to take.
    pub limits: FrontLimits,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    admission: Arc<Admission>,
    openapi: Bytes,
    log: Option<Arc<dyn LogFiles>>,
    link: Rc<Link>,
    rooms: Rooms,
}

/// Where bodies and answers are held: of a runtime, or of one of its connections.
#[derive(Debug)]
pub(crate) struct Rooms {
    /// Bodies that are read.
    bodies: Rc<Room>,
    /// Answers that are not sent yet.
    answers: Rc<Room>,
}

impl Rooms {
    fn of_runtime() -> Self {
        let (bodies, answers) = (BODIES_BYTES_MAX, ANSWERS_BYTES_MAX);
        Self { bodies: Room::of_runtime(bodies), answers: Room::of_runtime(answers) }
    }

    /// A connection's share.
    pub(crate) fn of_connection(front: &Front) -> Self {
        let Self { bodies, answers } = &front.rooms;
        Self { bodies: Room::of_connection(bodies), answers: Room::of_connection(answers) }
    }
}

impl Front {
    pub(crate) fn new(shared: &Shared, link: Rc<Link>) -> Self {
        Self {
            limits: shared.limits,
            metrics: Arc::clone(&shared.metrics),
            admission: Arc::clone(&shared.admission),
            openapi: shared.openapi.clone(),
            log: shared.log.clone(),
            link,
            rooms: Rooms::of_runtime(),
        }
    }
}

/// Answers a request, and counts it. What the answer takes of its room is given back when it is sent.
pub(crate) async fn answer(
    front: &Front,
    rooms: &Rooms,
    request: Request<Incoming>,
) -> (Response<Bytes>, Option<Taken>) {
    let began = Instant::now();
    let (parts, mut body) = request.into_parts();
    let found = routes::find(RequestLine { method: parts.method.as_str(), path: parts.uri.path() });
    let target = found.ok().map(|found| found.route.target);
    let reply = match found {
        Ok(found) => {
            let call = Call { front, rooms, found, parts: &parts, began };
            call.respond(&mut body).await.unwrap_or_else(Reply::from)
        }
        Err(HttpError::MethodNotAllowed) => Reply::from(Refusal::from(HttpError::MethodNotAllowed))
            .allowing(&routes::methods_of(parts.uri.path())),
        Err(error) => Refusal::from(error).into(),
    };
    let (reply, taken) = held(reply, &rooms.answers);
    let Reply { status, code, .. } = reply;
    if status >= 400 && !body.is_end_stream() {
        tokio::task::spawn_local(discard(body));
    }
    front.metrics.answered(Answered { target, status, code, took: began.elapsed() });
    (reply.into_response(), taken)
}

/// An answer with the room that it takes until it is sent. Where others that were begun with it have taken the room,
/// what was done stands, and is asked for again. A refusal takes none: it is short, and each stream has one at most.
fn held(reply: Reply, room: &Rc<Room>) -> (Reply, Option<Taken>) {
    if reply.status >= 400 {
        return (reply, None);
    }
    match room.take(reply.length()) {
        Some(taken) => (reply, Some(taken)),
        None => (Refusal::from(refusal(Reason::AnswerUnreadable)).into(), None),
    }
}

/// One request on its way.
#[derive(Clone, Copy)]
struct Call<'r> {
    front: &'r Front,
    rooms: &'r Rooms,
    found: Found<'r>,
    parts: &'r Parts,
    began: Instant,
}

impl Call<'_> {
    async fn respond(self, body: &mut Incoming) -> Result<Reply, Refusal> {
        // Whoever asks whether the front is alive hears it, however many answers others leave untaken.
        if !self.rooms.answers.has(ANSWER_BYTES_MAX) && self.found.route.target != Target::Health {
            return Err(refusal(Reason::Overloaded).into());
        }
        check_head(self.headers())?;
        if self.parts.uri.query().is_some() && !self.found.route.has_query() {
            return Err(HttpError::Malformed("this route takes no query").into());
        }
        if self.parts.method == hyper::Method::GET {
            check_no_body(body)?;
        } else {
            check_media(self.headers())?;
        }
        match self.found.route.target {
            Target::Batch(operation) => self.batch(operation, body).await,
            Target::Command(_) => self.command(body).await,
            Target::Log => match &self.front.log {
                Some(files) => log_files::answer(Arc::clone(files), self.found.variable).await,
                None => Err(HttpError::UnknownRoute.into()),
            },
            Target::Health => Ok(Reply::done(&json!({"state": "alive"}))),
            Target::Metrics => Ok(self.metrics().await),
            Target::OpenApi => Ok(Reply::text(MEDIA_JSON, self.front.openapi.clone())),
            Target::Public(kind) => self.public(kind).await,
            Target::Ready => self.ready().await,
            Target::Use(operation) => self.single(operation, body).await,
        }
    }

    fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    fn field(&self, name: &str) -> Result<Option<&str>, HttpError> {
        field(self.headers(), name)
    }

    fn handle(&self) -> Result<Vec<u8>, HttpError> {
        parse_authorization(self.field(AUTHORIZATION)?.ok_or(HttpError::HandleMissing)?)
    }

    fn proofs(&self) -> Result<Vec<HolderProof>, HttpError> {
        self.field(HANDLE_PROOF)?.map_or(Ok(Vec::new()), parse_proofs)
    }

    fn operation_id(&self) -> Result<Option<OperationId>, HttpError> {
        self.field(IDEMPOTENCY_KEY)?.map(parse_idempotency_key).transpose()
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        body: &mut Incoming,
    ) -> Result<T, Refusal> {
        let held = intake::read(body, &self.rooms.bodies, &self.front.limits).await?;
        Ok(parse(held.bytes())?)
    }

    async fn single(self, operation: Operation, body: &mut Incoming) -> Result<Reply, Refusal> {
        let (handle, proofs, id) = (self.handle()?, self.proofs()?, self.operation_id()?);
        let uses = Uses::single(self.read(body).await?, id)?;
        let request = uses.request(operation, &handle, proofs)?;
        let id = request.items.first().and_then(|item| item.id);
        let reply = self.put(&request).await.map_err(|problem| about(problem, id))?;
        let [result] = <[UseResult; 1]>::try_from(reply.results).map_err(|_| about(lost(), id))?;
        match result {
            UseResult::Committed { .. } => Ok(Reply::done(&UseAnswer::of(operation, result))),
            // What was refused before it was looked at does not name the operation; the caller did.
            UseResult::Refused { id: named, reason } => {
                Err(refusal(reason).about(named.or(id)).into())
            }
        }
    }

    async fn batch(self, operation: Operation, body: &mut Incoming) -> Result<Reply, Refusal> {
        let (handle, proofs) = (self.handle()?, self.proofs()?);
        if self.operation_id()?.is_some() {
            return Err(HttpError::Malformed(
                "the items of a batch have operation ids of their own",
            )
            .into());
        }
        let uses = Uses::batch(self.read(body).await?)?;
        let request = uses.request(operation, &handle, proofs)?;
        let reply = self.put(&request).await?;
        if reply.results.len() != request.items.len() {
            return Err(lost());
        }
        Ok(Reply::done(&BatchAnswer::of(&request, reply)))
    }

    async fn put(&self, request: &UseRequest<'_>) -> Result<UseReply, Refusal> {
        let bytes = self.ask(Question::Use(request)).await?;
        cbor::decode(&bytes, "use reply").map_err(|_| lost())
    }

    async fn command(self, body: &mut Incoming) -> Result<Reply, Refusal> {
        let (parameters, signature) = self.signature()?;
        let held = intake::read(body, &self.rooms.bodies, &self.front.limits).await?;
        let query = self.parts.uri.query();
        let command =
            command_from_request(CommandParts { found: self.found, query, body: held.bytes() })?;
        drop(held);
        let command = cbor::encode(&command);
        let id = Some(parameters.operation);
        let request = CommandRequest { command: &command, parameters, signature };
        let bytes =
            self.ask(Question::Command(&request)).await.map_err(|problem| about(problem, id))?;
        if let Some(frames) = frames_of(&bytes) {
            return Ok(Reply::text(MEDIA_BYTES, Bytes::from(bytes).slice(frames)));
        }
        let reply: CommandReply =
            cbor::decode(&bytes, "command reply").map_err(|_| about(lost(), id))?;
        let answer = CommandAnswer::of(reply).map_err(|problem| about(problem, id))?;
        Ok(Reply::done(&answer))
    }

    fn signature(
        &self,
    ) -> Result<(chancery_api::chancery_core::command::SignatureParameters, [u8; 64]), HttpError>
    {
        let needed = |name| self.field(name)?.ok_or(HttpError::SignatureMalformed(name));
        parse_signature(SignatureFields {
            idempotency_key: needed(IDEMPOTENCY_KEY)?,
            command_digest: needed(COMMAND_DIGEST)?,
            signature_input: needed(SIGNATURE_INPUT)?,
            signature: needed(SIGNATURE)?,
        })
    }

    /// Sends a question and waits for its answer, until the request's time is over.
    async fn ask(&self, question: Question<'_>) -> Result<Vec<u8>, Refusal> {
        let receiver = self.front.link.send(question).map_err(not_sent)?;
        let deadline = tokio::time::Instant::from_std(self.began + self.front.limits.request);
        answered(tokio::time::timeout_at(deadline, receiver).await)
    }

    /// What anybody may know. Nothing can have come of it, so that there is no outcome to resolve.
    async fn public(self, kind: PublicKind) -> Result<Reply, Refusal> {
        let (variable, query) = (self.found.variable, self.parts.uri.query());
        let asked = Asked { kind, variable, query, known: self.field(IF_NONE_MATCH.as_str())? };
        let request = asked.request()?;
        let bytes = self.ask(Question::Public(&request)).await;
        asked.reply(&bytes.map_err(|_| not_sent(SendError::Down))?)
    }

    async fn health(&self) -> Result<HealthReply, Refusal> {
        let receiver = self.front.link.send(Question::Health).map_err(not_sent)?;
        let bytes = answered(tokio::time::timeout(HEALTH_DEADLINE, receiver).await);
        // Nothing was asked for that could have been done.
        let unavailable = |_| not_sent(SendError::Down);
        cbor::decode(&bytes.map_err(unavailable)?, "health reply")
            .map_err(|_| not_sent(SendError::Down))
    }

    async fn ready(self) -> Result<Reply, Refusal> {
        let mode = self.health().await?.mode;
        if mode == Reason::AuditFailed.code() {
            return Err(refusal(Reason::AuditFailed).into());
        }
        Ok(Reply::done(&json!({ "mode": mode })))
    }

    async fn metrics(self) -> Reply {
        let mut text = self.front.metrics.exposition(self.front.admission.count());
        if let Ok(health) = self.health().await {
            append(&mut text, &health.counters);
        }
        Reply::text(MEDIA_METRICS, text.into())
    }
}

fn about(mut problem: Refusal, id: Option<OperationId>) -> Refusal {
    problem.operation_id = id;
    problem
}

fn refusal(reason: Reason) -> Problem {
    Problem::refused(Code::Reason(reason))
}

fn not_sent(error: SendError) -> Refusal {
    Box::new(match error {
        SendError::Down => Problem::refused(Code::Front(FrontCode::SignerUnavailable)),
        SendError::Full => refusal(Reason::Overloaded),
        SendError::TooLong => {
            HttpError::TooLarge("a request of more than 2 MiB, without its base64").into()
        }
    })
}

fn lost() -> Refusal {
    let problem = Problem::new(Code::Front(FrontCode::SignerUnavailable), Outcome::Unknown);
    problem
        .because("the signer was lost before it answered; repeat with the same operation id")
        .into()
}

type Awaited = Result<Result<Vec<u8>, oneshot::error::RecvError>, tokio::time::error::Elapsed>;

fn answered(awaited: Awaited) -> Result<Vec<u8>, Refusal> {
    match awaited {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(lost()),
        Err(_) => Err(Problem::new(Code::Front(FrontCode::Timeout), Outcome::Unknown)
            .because("the signer did not answer in time; repeat with the same operation id")
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_finds_no_room_stands_and_a_refusal_needs_none() {
        let room = Room::of_runtime(3);
        let answer = || Reply::text(MEDIA_JSON, Bytes::from_static(b"{}"));
        let (first, taken) = held(answer(), &room);
        assert!(first.status == 200 && taken.is_some());
        let (second, none) = held(answer(), &room);
        assert_eq!(second.code, Some(Code::Reason(Reason::AnswerUnreadable)));
        assert!(none.is_none());
        let refused = held(Refusal::from(refusal(Reason::Overloaded)).into(), &room).0;
        assert_eq!(refused.code, Some(Code::Reason(Reason::Overloaded)));
        drop(taken);
        assert_eq!(held(answer(), &room).0.status, 200);
    }
}
