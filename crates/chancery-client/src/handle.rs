//! Key handles, as their holder sees them.
//!
//! A [`KeyHandle`] is a capability: who has its text can do with the key what it says, within its context
//! and until it expires. It is described and narrowed here without the service; what it says is not checked,
//! since only the signer can check a chain.

use std::fmt;

use chancery_api::token::{self, TokenError};
use chancery_core::context::{Context, ContextError, Pair};
use chancery_core::handle::{self, Caveat, Described, LinkId, OpenError, Operation, Operations};
use chancery_core::id::{HandleId, KeyId, NodeId};
use chancery_core::purpose::Purpose;
use chancery_crypto::mac::ChainLink;

/// A handle with what it says.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyHandle {
    bytes: Vec<u8>,
    described: Described,
    expires_ms: u64,
    constraints: Constraints,
}

/// What a handle allows, all of its narrowings taken together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraints {
    /// What may be done.
    pub operations: Operations,
    /// What the context must contain.
    pub pins: Vec<Pair>,
    /// The Ed25519 public keys whose possession must be proved.
    pub holders: Vec<[u8; 32]>,
    /// How often it may be used, each with the node that counts; all of them hold.
    pub uses: Vec<(u64, NodeId)>,
}

/// The text or the bytes are not a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// The bytes are no handle.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The text is no handle.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl KeyHandle {
    /// Takes a handle's text, with at most one line end after it.
    ///
    /// # Errors
    ///
    /// [`HandleError`] if it is none.
    pub fn parse(text: &str) -> Result<Self, HandleError> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        Ok(Self::from_bytes(token::decode(text)?)?)
    }

    /// Takes a handle's bytes, as the service gives them.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if they are none.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, OpenError> {
        let described = handle::describe(&bytes)?;
        let mut handle = Self {
            bytes,
            expires_ms: described.root.expires_ms,
            constraints: Constraints {
                operations: described.root.operations,
                pins: Vec::new(),
                holders: Vec::new(),
                uses: Vec::new(),
            },
            described,
        };
        handle.take_caveats();
        Ok(handle)
    }

    /// Caveats conjoin: the earliest expiry, the common operations, every pin and every holder.
    fn take_caveats(&mut self) {
        for caveat in &self.described.caveats {
            match caveat {
                Caveat::Expires(at) => self.expires_ms = self.expires_ms.min(*at),
                Caveat::Operations(only) => {
                    self.constraints.operations = self.constraints.operations.and(*only);
                }
                Caveat::Pin(pin) => self.constraints.pins.push(pin.clone()),
                Caveat::Holder(key) => self.constraints.holders.push(*key),
                Caveat::Uses { most, node } => self.constraints.uses.push((*most, *node)),
            }
        }
    }

    /// The name of its first link.
    #[must_use]
    pub fn id(&self) -> HandleId {
        self.described.root.id
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.described.root.key
    }

    /// The key's purpose.
    #[must_use]
    pub fn purpose(&self) -> &Purpose {
        &self.described.root.purpose
    }

    /// When it runs out, in milliseconds since 1970.
    #[must_use]
    pub fn expires_ms(&self) -> u64 {
        self.expires_ms
    }

    /// What it allows.
    #[must_use]
    pub fn constraints(&self) -> &Constraints {
        &self.constraints
    }

    /// Whether it allows an operation.
    #[must_use]
    pub fn permits(&self, operation: Operation) -> bool {
        self.constraints.operations.contains(operation)
    }

    /// All that it says, link by link.
    #[must_use]
    pub fn described(&self) -> &Described {
        &self.described
    }

    /// The bytes.
    ///
    /// # Security
    ///
    /// Whoever has them can use the handle.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The text.
    ///
    /// # Security
    ///
    /// Whoever has it can use the handle.
    #[must_use]
    pub fn expose_text(&self) -> String {
        token::encode(&self.bytes)
    }

    /// A narrower handle of the same key. Needs no service.
    ///
    /// # Errors
    ///
    /// [`OpenError::TooLarge`] if it would have more caveats than a handle may have.
    pub fn narrow(&self, caveats: &[Caveat]) -> Result<Self, OpenError> {
        Self::from_bytes(handle::narrow(&self.bytes, caveats, &ChainLink)?)
    }

    /// The name by which this handle, and all that is narrowed from it, is revoked.
    ///
    /// # Errors
    ///
    /// None for a handle that was parsed; the signature is that of the core.
    pub fn revocation_id(&self) -> Result<LinkId, OpenError> {
        handle::last_link(&self.bytes, &ChainLink)
    }

    /// `context` with the pins that it does not name itself: a pinned pair need not be said again.
    ///
    /// # Errors
    ///
    /// [`ContextError`] if that makes too many pairs, or two pins contradict each other.
    pub fn complete(&self, context: &Context) -> Result<Context, ContextError> {
        let named = |pin: &&Pair| context.pairs().iter().any(|pair| pair.name() == pin.name());
        let missing = self.constraints.pins.iter().filter(|pin| !named(pin));
        let mut pairs: Vec<_> = context.pairs().iter().chain(missing).cloned().collect();
        pairs.sort();
        pairs.dedup();
        Context::new(pairs)
    }
}

impl fmt::Debug for KeyHandle {
    /// Shows what the handle says, and nothing by which it could be used.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHandle")
            .field("id", &self.id())
            .field("purpose", &self.purpose().to_string())
            .field("expires_ms", &self.expires_ms)
            .field("constraints", &self.constraints)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use chancery_core::epoch::Epoch;
    use chancery_core::handle::{HandleKeyId, Link, Mac, Root, Tag};
    use chancery_core::id::{PrincipalId, TenantId};

    use super::*;

    /// Begins chains with a fixed tag, since no test here opens one.
    struct Minter;

    impl Link for Minter {
        fn link(&self, tag: &Tag, caveat: &[u8]) -> Tag {
            ChainLink.link(tag, caveat)
        }

        fn revocation(&self, tag: &Tag) -> Tag {
            ChainLink.revocation(tag)
        }
    }

    impl Mac for Minter {
        fn root(&self, _: HandleKeyId, _: &[u8]) -> Option<Tag> {
            Some([0x5a; 32])
        }

        fn equal(&self, one: &Tag, other: &Tag) -> bool {
            one == other
        }
    }

    pub(crate) fn handle(purpose: &str, operations: &[Operation]) -> KeyHandle {
        let root = Root {
            id: HandleId::from_bytes([9; 16]),
            tenant: TenantId::from_bytes([1; 16]),
            key: KeyId::from_bytes([7; 16]),
            purpose: purpose.parse().unwrap(),
            issuer: PrincipalId::from_bytes([5; 16]),
            subject: PrincipalId::from_bytes([5; 16]),
            issue_epoch: Epoch::default(),
            issued_ms: 1_000,
            expires_ms: 2_000,
            operations: Operations::of(operations),
        };
        KeyHandle::from_bytes(handle::mint(HandleKeyId(1), &root, &Minter).unwrap()).unwrap()
    }

    fn signing() -> KeyHandle {
        handle("sign.bound:invoice", &[Operation::Sign, Operation::Verify])
    }

    fn pin(text: &str) -> Caveat {
        Caveat::Pin(Pair::parse(text).unwrap())
    }

    #[test]
    fn its_text_is_read_back_and_one_line_end_is_no_matter() {
        let text = signing().expose_text();
        assert_eq!(KeyHandle::parse(&text), Ok(signing()));
        assert_eq!(KeyHandle::parse(&format!("{text}\n")), Ok(signing()));
        assert!(KeyHandle::parse(&format!("{text}\n\n")).is_err());
        assert!(KeyHandle::parse("chancery-handle-1.AA").is_err());
    }

    #[test]
    fn constraints_are_those_of_all_narrowings_together() {
        let only_sign = Caveat::Operations(Operations::of(&[Operation::Sign]));
        let caveats =
            [Caveat::Expires(1_500), only_sign, pin("customer=7"), Caveat::Holder([3; 32])];
        let narrowed = signing().narrow(&caveats).unwrap();
        assert_eq!(narrowed.expires_ms(), 1_500);
        assert!(narrowed.permits(Operation::Sign) && !narrowed.permits(Operation::Verify));
        assert_eq!(narrowed.constraints().pins, [Pair::parse("customer=7").unwrap()]);
        assert_eq!(narrowed.constraints().holders, [[3; 32]]);
        assert_eq!(narrowed.id(), signing().id());
        assert_ne!(narrowed.revocation_id(), signing().revocation_id());
    }

    #[test]
    fn pins_complete_a_context_and_never_change_it() {
        let narrowed = signing().narrow(&[pin("customer=7"), pin("region=eu")]).unwrap();
        let context = |texts: &[&str]| {
            Context::new(texts.iter().map(|text| Pair::parse(text).unwrap()).collect()).unwrap()
        };
        assert_eq!(
            narrowed.complete(&Context::default()),
            Ok(context(&["customer=7", "region=eu"]))
        );
        assert_eq!(
            narrowed.complete(&context(&["customer=8"])),
            Ok(context(&["customer=8", "region=eu"]))
        );
    }

    #[test]
    fn two_pins_that_contradict_each_other_leave_no_context() {
        let narrowed = signing().narrow(&[pin("customer=7"), pin("customer=8")]).unwrap();
        assert_eq!(narrowed.complete(&Context::default()), Err(ContextError::Repeated));
    }

    #[test]
    fn the_debug_form_is_of_no_use_to_a_thief() {
        let shown = format!("{:?}", signing());
        assert!(
            !shown.contains("chancery-handle-1")
                && !shown.contains("5a5a")
                && !shown.contains("90, 90")
        );
    }
}
