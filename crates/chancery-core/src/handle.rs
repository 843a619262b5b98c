//! Handles: capability tokens, bound to a key, a purpose, a context and a holder.
//!
//! A handle is a keyed chain in the manner of macaroons, with typed caveats:
//!
//! ```text
//! handle  = CBOR [1, handle key id, bstr root, [bstr caveat, …], bstr tag (32)]
//! root    = CBOR [handle id, tenant, key, purpose, issuer, subject, issue epoch, issued ms, expires ms, operations]
//! caveat  = CBOR [number, value]
//! tag_0   = MAC[handle key](root)      tag_i = MAC[tag_{i-1}](caveat_i)
//! ```
//!
//! Who holds a handle can add a caveat offline, since only the last tag is needed for that, and can
//! never take one away. Caveats conjoin: the earliest expiry, the intersection of operations, every pin,
//! every holder, every bound on the number of uses.
//!
//! **Invariant:** [`Handle::open`] alone makes a [`Handle`], and it refuses whatever it would not itself
//! have written: another encoding, an unknown caveat, a broken link.
//!
//! What is *not* here: revocation and epochs, which are state and belong to [`crate::authority`].

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::context::{Context, Pair};
use crate::counts::Bound;
use crate::epoch::Epoch;
use crate::id::{HandleId, KeyId, NodeId, PrincipalId, TenantId};
use crate::limits::{CAVEATS_MAX, HANDLE_BYTES_MAX, USE_BOUNDS_MAX};
use crate::purpose::Purpose;

mod operation;

pub use operation::{Operation, Operations};

/// The version byte of the format.
const FORMAT: u8 = 1;

/// A MAC in a chain: HMAC-SHA-256.
pub type Tag = [u8; 32];

/// Names the key that a chain begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct HandleKeyId(#[n(0)] pub u32);

/// Adds links to a chain; needs no secret but the last tag.
pub trait Link {
    /// `MAC[tag](caveat)` under the label of links.
    fn link(&self, tag: &Tag, caveat: &[u8]) -> Tag;

    /// `MAC[tag]("")` under the label of revocation ids: names a link without giving its tag away.
    fn revocation(&self, tag: &Tag) -> Tag;
}

/// Begins and checks chains; holds the handle keys.
pub trait Mac: Link {
    /// `MAC[handle key](root)` under the label of roots, if there is such a key.
    fn root(&self, key: HandleKeyId, root: &[u8]) -> Option<Tag>;

    /// Compares in constant time.
    fn equal(&self, one: &Tag, other: &Tag) -> bool;
}

/// What a handle was issued with.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Root {
    /// Names the handle, and its first link for revocation.
    #[n(0)]
    pub id: HandleId,
    /// Whose key it is.
    #[n(1)]
    pub tenant: TenantId,
    /// The key.
    #[n(2)]
    pub key: KeyId,
    /// The key's purpose.
    #[n(3)]
    pub purpose: Purpose,
    /// Who issued it.
    #[n(4)]
    pub issuer: PrincipalId,
    /// To whom; the principal of what is done with it.
    #[n(5)]
    pub subject: PrincipalId,
    /// The tenant's epoch when it was issued.
    #[n(6)]
    pub issue_epoch: Epoch,
    /// When it was issued, in milliseconds since 1970.
    #[n(7)]
    pub issued_ms: u64,
    /// When it runs out, in milliseconds since 1970.
    #[n(8)]
    pub expires_ms: u64,
    /// What may be done.
    #[n(9)]
    pub operations: Operations,
}

/// A narrowing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Caveat {
    /// Runs out at this time, in milliseconds since 1970.
    #[n(1)]
    Expires(#[n(0)] u64),
    /// These operations alone.
    #[n(2)]
    Operations(#[n(0)] Operations),
    /// The context has this pair.
    #[n(3)]
    Pin(#[n(0)] Pair),
    /// Whoever uses it proves possession of this Ed25519 key.
    #[n(4)]
    Holder(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]),
    /// It, and all that is narrowed from it, is used at most so often together.
    #[n(5)]
    Uses {
        /// How often.
        #[n(0)]
        most: u64,
        /// Where that is counted; no other node takes the handle.
        #[n(1)]
        node: NodeId,
    },
}

/// The encoded chain.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Chain<'b> {
    #[n(0)]
    format: u8,
    #[n(1)]
    key: HandleKeyId,
    #[cbor(b(2), with = "minicbor::bytes")]
    root: &'b [u8],
    #[b(3)]
    caveats: Vec<&'b minicbor::bytes::ByteSlice>,
    #[cbor(n(4), with = "minicbor::bytes")]
    tag: Tag,
}

/// The bytes are not a handle of this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Altered, truncated, or of another service.
    #[error("the handle's chain does not hold")]
    BrokenChain,
    /// Not canonical, of an unknown version, or with an unknown caveat.
    #[error("not a handle")]
    NotAHandle,
    /// Longer, or with more caveats, than a handle may be.
    #[error(
        "a handle has at most {HANDLE_BYTES_MAX} bytes and {CAVEATS_MAX} caveats, {USE_BOUNDS_MAX} of them on its uses"
    )]
    TooLarge,
}

/// A link's name for revocation: the first sixteen bytes of its tag's MAC, or the handle id for the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct LinkId(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

impl LinkId {
    fn of_tag(tag: &Tag, mac: &impl Link) -> Self {
        let full = mac.revocation(tag);
        Self(std::array::from_fn(|position| full.get(position).copied().unwrap_or_default()))
    }
}

/// A handle as its holder sees it: what it says, unchecked, since only the signer can check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// What it was issued with.
    pub root: Root,
    /// How it was narrowed since, in order.
    pub caveats: Vec<Caveat>,
}

/// An opened handle: its chain holds.
#[derive(Clone, Debug)]
pub struct Handle {
    root: Root,
    expires_ms: u64,
    operations: Operations,
    pins: Vec<Pair>,
    holders: Vec<[u8; 32]>,
    bounds: Vec<Bound>,
    links: Vec<LinkId>,
}

impl Handle {
    /// Opens `bytes` and checks the chain.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; a caller learns no more than that the handle is no good.
    pub fn open(bytes: &[u8], mac: &impl Mac) -> Result<Self, OpenError> {
        let chain = parse(bytes)?;
        let mut tag = mac.root(chain.key, chain.root).ok_or(OpenError::BrokenChain)?;
        let root: Root = cbor::decode(chain.root, "root").map_err(|_| OpenError::NotAHandle)?;
        let mut handle = Self::unnarrowed(root);
        for caveat in &chain.caveats {
            tag = mac.link(&tag, caveat);
            let link = LinkId::of_tag(&tag, mac);
            handle.links.push(link);
            let caveat = cbor::decode(caveat, "caveat").map_err(|_| OpenError::NotAHandle)?;
            handle.narrow(link, caveat);
        }
        if !mac.equal(&tag, &chain.tag) {
            return Err(OpenError::BrokenChain);
        }
        if handle.bounds.len() > USE_BOUNDS_MAX { Err(OpenError::TooLarge) } else { Ok(handle) }
    }

    fn unnarrowed(root: Root) -> Self {
        Self {
            expires_ms: root.expires_ms,
            operations: root.operations,
            pins: Vec::new(),
            holders: Vec::new(),
            bounds: Vec::new(),
            links: vec![LinkId(*root.id.as_bytes())],
            root,
        }
    }

    fn narrow(&mut self, link: LinkId, caveat: Caveat) {
        match caveat {
            Caveat::Expires(at) => self.expires_ms = self.expires_ms.min(at),
            Caveat::Operations(operations) => self.operations = self.operations.and(operations),
            Caveat::Pin(pin) => self.pins.push(pin),
            Caveat::Holder(key) => self.holders.push(key),
            Caveat::Uses { most, node } => {
                self.bounds.push(Bound { link, most, node, until_ms: self.expires_ms });
            }
        }
    }

    /// What it was issued with.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// When it runs out, in milliseconds since 1970.
    #[must_use]
    pub fn expires_ms(&self) -> u64 {
        self.expires_ms
    }

    /// Whether it carries the right to `operation`.
    #[must_use]
    pub fn permits(&self, operation: Operation) -> bool {
        self.operations.contains(operation)
    }

    /// Whether `context` has every pair that is pinned.
    #[must_use]
    pub fn admits(&self, context: &Context) -> bool {
        self.pins.iter().all(|pin| context.satisfies(pin))
    }

    /// The keys whose possession must be proved; all of them.
    #[must_use]
    pub fn holders(&self) -> &[[u8; 32]] {
        &self.holders
    }

    /// Which of its links may be used how often; all of them hold.
    #[must_use]
    pub fn bounds(&self) -> &[Bound] {
        &self.bounds
    }

    /// The names of its links, any of which may have been revoked.
    #[must_use]
    pub fn links(&self) -> &[LinkId] {
        &self.links
    }
}

fn parse(bytes: &[u8]) -> Result<Chain<'_>, OpenError> {
    if bytes.len() > HANDLE_BYTES_MAX {
        return Err(OpenError::TooLarge);
    }
    let chain: Chain<'_> = cbor::decode(bytes, "handle").map_err(|_| OpenError::NotAHandle)?;
    match chain {
        Chain { caveats, .. } if caveats.len() > CAVEATS_MAX => Err(OpenError::TooLarge),
        Chain { format: FORMAT, .. } => Ok(chain),
        Chain { .. } => Err(OpenError::NotAHandle),
    }
}

/// Makes a handle.
///
/// # Errors
///
/// [`OpenError::BrokenChain`] if there is no such handle key.
pub fn mint(key: HandleKeyId, root: &Root, mac: &impl Mac) -> Result<Vec<u8>, OpenError> {
    let root = cbor::encode(root);
    let tag = mac.root(key, &root).ok_or(OpenError::BrokenChain)?;
    Ok(cbor::encode(&Chain { format: FORMAT, key, root: &root, caveats: Vec::new(), tag }))
}

/// Adds `caveats` to a handle. Needs nothing but the handle itself.
///
/// # Errors
///
/// [`OpenError`] if it is none, or would have too many caveats.
pub fn narrow(bytes: &[u8], caveats: &[Caveat], link: &impl Link) -> Result<Vec<u8>, OpenError> {
    let chain = parse(bytes)?;
    let added: Vec<_> = caveats.iter().map(cbor::encode).collect();
    let tag = added.iter().fold(chain.tag, |tag, caveat| link.link(&tag, caveat));
    let all = chain.caveats.into_iter().chain(added.iter().map(|caveat| caveat.as_slice().into()));
    let narrowed = cbor::encode(&Chain { caveats: all.collect(), tag, ..chain });
    // What would not open is not made.
    let caveats = describe(&narrowed)?.caveats;
    let bounds = caveats.iter().filter(|caveat| matches!(caveat, Caveat::Uses { .. }));
    if bounds.count() > USE_BOUNDS_MAX { Err(OpenError::TooLarge) } else { Ok(narrowed) }
}

/// What a handle says, for its holder to read. Proves nothing: only the signer can check a chain.
///
/// # Errors
///
/// [`OpenError`] if the bytes are no handle.
pub fn describe(bytes: &[u8]) -> Result<Described, OpenError> {
    let chain = parse(bytes)?;
    let root = cbor::decode(chain.root, "root").map_err(|_| OpenError::NotAHandle)?;
    let caveats = chain.caveats.iter().map(|caveat| cbor::decode(caveat, "caveat"));
    let caveats = caveats.collect::<Result<_, _>>().map_err(|_| OpenError::NotAHandle)?;
    Ok(Described { root, caveats })
}

/// The name of a handle's last link, by which its holder can have it revoked.
///
/// # Errors
///
/// [`OpenError`] if the bytes are no handle.
pub fn last_link(bytes: &[u8], link: &impl Link) -> Result<LinkId, OpenError> {
    let chain = parse(bytes)?;
    if chain.caveats.is_empty() {
        return Ok(LinkId(*describe(bytes)?.root.id.as_bytes()));
    }
    Ok(LinkId::of_tag(&chain.tag, link))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A keyed mixing function that is no MAC, but tells any two inputs of these tests apart.
    pub(crate) struct Mixer;

    fn mix(seed: u64, parts: &[&[u8]]) -> Tag {
        let mut state = seed ^ 0xcbf2_9ce4_8422_2325;
        for byte in parts.iter().flat_map(|part| part.iter()) {
            state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        std::array::from_fn(|i| (state.rotate_left(u32::try_from(i).unwrap() * 7) & 0xff) as u8)
    }

    impl Link for Mixer {
        fn link(&self, tag: &Tag, caveat: &[u8]) -> Tag {
            mix(2, &[tag, caveat])
        }

        fn revocation(&self, tag: &Tag) -> Tag {
            mix(3, &[tag])
        }
    }

    impl Mac for Mixer {
        fn root(&self, key: HandleKeyId, root: &[u8]) -> Option<Tag> {
            (key.0 == 1).then(|| mix(1, &[root]))
        }

        fn equal(&self, one: &Tag, other: &Tag) -> bool {
            one == other
        }
    }

    pub(crate) fn root() -> Root {
        Root {
            id: HandleId::from_bytes([9; 16]),
            tenant: TenantId::from_bytes([1; 16]),
            key: KeyId::from_bytes([7; 16]),
            purpose: "sign.bound:invoice".parse().unwrap(),
            issuer: PrincipalId::from_bytes([5; 16]),
            subject: PrincipalId::from_bytes([5; 16]),
            issue_epoch: Epoch::default(),
            issued_ms: 1_000,
            expires_ms: 2_000,
            operations: Operations::of(&[Operation::Sign, Operation::Verify]),
        }
    }

    fn minted() -> Vec<u8> {
        mint(HandleKeyId(1), &root(), &Mixer).unwrap()
    }

    #[test]
    fn narrowing_conjoins_and_never_widens() {
        let later = Caveat::Expires(9_000);
        let sooner = Caveat::Expires(1_500);
        let signs = Caveat::Operations(Operations::of(&[Operation::Sign, Operation::Decrypt]));
        let narrowed = narrow(&minted(), &[later, sooner, signs], &Mixer).unwrap();
        let handle = Handle::open(&narrowed, &Mixer).unwrap();
        assert_eq!(handle.expires_ms(), 1_500);
        assert!(handle.permits(Operation::Sign));
        assert!(!handle.permits(Operation::Verify) && !handle.permits(Operation::Decrypt));
    }

    #[test]
    fn a_pin_must_be_in_the_context() {
        let pin = Caveat::Pin(Pair::parse("customer=7").unwrap());
        let handle = Handle::open(&narrow(&minted(), &[pin], &Mixer).unwrap(), &Mixer).unwrap();
        let context = |text: &str| Context::new(vec![Pair::parse(text).unwrap()]).unwrap();
        assert!(handle.admits(&context("customer=7")));
        assert!(!handle.admits(&context("customer=8")) && !handle.admits(&Context::default()));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let caveats = [Caveat::Expires(1_500), Caveat::Holder([3; 32])];
        let bytes = narrow(&minted(), &caveats, &Mixer).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(Handle::open(&altered, &Mixer).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        let bytes = minted();
        for length in 0..bytes.len() {
            assert!(Handle::open(&bytes[..length], &Mixer).is_err());
        }
        assert!(Handle::open(&[bytes, vec![0]].concat(), &Mixer).is_err());
    }

    #[test]
    fn a_caveat_can_be_neither_dropped_nor_moved() {
        let one = Caveat::Expires(1_500);
        let two = Caveat::Operations(Operations::of(&[Operation::Sign]));
        let narrowed = narrow(&minted(), &[one, two], &Mixer).unwrap();
        let chain = parse(&narrowed).unwrap();
        for caveats in [vec![chain.caveats[0]], vec![chain.caveats[1], chain.caveats[0]], vec![]] {
            let forged = cbor::encode(&Chain {
                format: FORMAT,
                key: chain.key,
                root: chain.root,
                caveats,
                tag: chain.tag,
            });
            assert_eq!(Handle::open(&forged, &Mixer).unwrap_err(), OpenError::BrokenChain);
        }
    }

    #[test]
    fn an_unknown_caveat_refuses() {
        let chain_bytes = minted();
        let chain = parse(&chain_bytes).unwrap();
        let caveat = [0x82, 0x18, 0x63, 0x81, 0x01]; // [99, [1]]
        let tag = Mixer.link(&chain.tag, &caveat);
        let forged = cbor::encode(&Chain { caveats: vec![caveat.as_slice().into()], tag, ..chain });
        assert_eq!(Handle::open(&forged, &Mixer).unwrap_err(), OpenError::NotAHandle);
    }

    #[test]
    fn the_most_caveats_are_taken_and_one_more_is_not() {
        let many = |n| vec![Caveat::Expires(1_500); n];
        assert!(narrow(&minted(), &many(CAVEATS_MAX), &Mixer).is_ok());
        assert_eq!(narrow(&minted(), &many(CAVEATS_MAX + 1), &Mixer), Err(OpenError::TooLarge));
    }

    #[test]
    fn each_narrowing_has_a_revocation_name_of_its_own() {
        let narrowed = narrow(&minted(), &[Caveat::Expires(1_500)], &Mixer).unwrap();
        let handle = Handle::open(&narrowed, &Mixer).unwrap();
        assert_eq!(handle.links().len(), 2);
        assert_eq!(handle.links().last(), Some(&last_link(&narrowed, &Mixer).unwrap()));
        assert_eq!(last_link(&minted(), &Mixer).unwrap(), LinkId([9; 16]));
    }
}
