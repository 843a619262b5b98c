//! A reader for the few DER structures that keys come in.
//!
//! Follows X.690, sections 8 and 10, narrowed to definite lengths of at most 65 535 bytes in their shortest
//! form and to tags of one byte. It takes structures apart; whether a key is sound is for the provider to
//! say, which parses the same bytes.

/// The tag of an INTEGER (X.690, 8.3).
pub(crate) const INTEGER: u8 = 0x02;
/// The tag of a BIT STRING (X.690, 8.6).
pub(crate) const BIT_STRING: u8 = 0x03;
/// The tag of an OCTET STRING (X.690, 8.7).
pub(crate) const OCTET_STRING: u8 = 0x04;
/// The tag of an OBJECT IDENTIFIER (X.690, 8.19).
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
/// The tag of a SEQUENCE (X.690, 8.9).
pub(crate) const SEQUENCE: u8 = 0x30;

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'d>(pub(crate) &'d [u8]);

impl<'d> Reader<'d> {
    /// The content of the next element, if it has this tag.
    pub(crate) fn element(&mut self, tag: u8) -> Option<&'d [u8]> {
        let (found, rest) = self.0.split_first()?;
        let (length, rest) = length(rest)?;
        if *found != tag {
            return None;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }

    /// The next element, which has this tag, as a reader of its content.
    pub(crate) fn inner(&mut self, tag: u8) -> Option<Reader<'d>> {
        self.element(tag).map(Reader)
    }

    /// The next element, an INTEGER that is not negative, without its leading zero (X.690, 8.3.2).
    pub(crate) fn unsigned(&mut self) -> Option<&'d [u8]> {
        match self.element(INTEGER)? {
            [0, rest @ ..] if rest.first().is_some_and(|first| first & 0x80 != 0) => Some(rest),
            [0] => Some(&[]),
            [0, ..] | [] => None,
            [first, ..] if first & 0x80 != 0 => None,
            magnitude => Some(magnitude),
        }
    }

    /// The next element, a BIT STRING of whole bytes.
    pub(crate) fn bytes_of_bits(&mut self) -> Option<&'d [u8]> {
        self.element(BIT_STRING)?.strip_prefix(&[0])
    }

    /// Whether all was read.
    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// Reads a length in its shortest form (X.690, 10.1).
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [short @ ..=0x7f, rest @ ..] => Some((usize::from(*short), rest)),
        [0x81, one @ 0x80..=0xff, rest @ ..] => Some((usize::from(*one), rest)),
        [0x82, high @ 1..=0xff, low, rest @ ..] => {
            Some((usize::from(u16::from_be_bytes([*high, *low])), rest))
        }
        _ => None,
    }
}

/// `subjectPublicKey` of a `SubjectPublicKeyInfo` (RFC 5280, 4.1).
pub(crate) fn subject_public_key(spki: &[u8]) -> Option<&[u8]> {
    let mut info = Reader(spki).inner(SEQUENCE)?;
    info.element(SEQUENCE)?;
    let key = info.bytes_of_bits()?;
    info.is_empty().then_some(key)
}

/// Modulus and public exponent, big-endian without leading zeros (RFC 8017, A.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RsaPublic<'d> {
    pub(crate) modulus: &'d [u8],
    pub(crate) exponent: &'d [u8],
}

impl<'d> RsaPublic<'d> {
    /// Takes an `RSAPublicKey` apart.
    pub(crate) fn parse(key: &'d [u8]) -> Option<Self> {
        let mut outer = Reader(key);
        let mut fields = outer.inner(SEQUENCE)?;
        let (modulus, exponent) = (fields.unsigned()?, fields.unsigned()?);
        (outer.is_empty() && fields.is_empty()).then_some(Self { modulus, exponent })
    }

    /// The length of the modulus in bits.
    pub(crate) fn modulus_bits(self) -> usize {
        let unused = self.modulus.first().map_or(0, |first| first.leading_zeros());
        (self.modulus.len() * 8).saturating_sub(unused as usize)
    }

    /// The exponent as a number, if it has at most 64 bits.
    pub(crate) fn exponent_number(self) -> Option<u64> {
        let is_short = self.exponent.len() <= 8;
        is_short
            .then(|| self.exponent.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_in_their_shortest_form_alone() {
        assert_eq!(length(&[0x7f, 1]), Some((0x7f, &[1][..])));
        assert_eq!(length(&[0x81, 0x80]), Some((0x80, &[][..])));
        assert_eq!(length(&[0x82, 0x01, 0x00]), Some((0x100, &[][..])));
        for longer in
            [&[0x81, 0x7f][..], &[0x82, 0, 0xff], &[0x80], &[0x83, 1, 0, 0], &[0x82, 1], &[]]
        {
            assert_eq!(length(longer), None, "{longer:x?}");
        }
    }

    #[test]
    fn integers_are_read_in_their_shortest_form_alone() {
        let unsigned = |content: &[u8]| {
            let bytes = [&[INTEGER, u8::try_from(content.len()).unwrap()], content].concat();
            Reader(&bytes).unsigned().map(<[u8]>::to_vec)
        };
        assert_eq!(unsigned(&[0x00]), Some(vec![]));
        assert_eq!(unsigned(&[0x01]), Some(vec![1]));
        assert_eq!(unsigned(&[0x00, 0x80]), Some(vec![0x80]));
        assert_eq!(unsigned(&[0x00, 0x01]), None);
        assert_eq!(unsigned(&[0x80]), None);
        assert_eq!(unsigned(&[]), None);
    }

    #[test]
    fn an_element_longer_than_what_is_left_is_none() {
        assert_eq!(Reader(&[SEQUENCE, 2, 0]).element(SEQUENCE), None);
        assert_eq!(Reader(&[SEQUENCE, 0]).element(OCTET_STRING), None);
    }
}
