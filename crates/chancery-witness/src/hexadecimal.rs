//! Bytes read from hexadecimal digits of one spelling: lower case.

/// Fills `out` from twice as many digits; `None` if they are others, and then with anything.
pub(crate) fn unhex(digits: &str, out: &mut [u8]) -> Option<()> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != out.len() {
        return None;
    }
    for (place, [high, low]) in out.iter_mut().zip(pairs) {
        *place = digit(*high)? << 4 | digit(*low)?;
    }
    Some(())
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_have_one_spelling_and_fill_what_there_is() {
        let mut out = [0; 2];
        assert_eq!((unhex("09af", &mut out), out), (Some(()), [0x09, 0xaf]));
        for digits in ["", "09", "09a", "09af0", "09af00", "09AF", "09ag", "+9af"] {
            assert_eq!(unhex(digits, &mut out), None, "{digits}");
        }
    }
}
