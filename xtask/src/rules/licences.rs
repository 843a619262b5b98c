//! Reading SPDX licence expressions (SPDX 2.3, annex D), and the old form with `/`.
//!
//! No exception is known by itself: `X WITH Y` must be allowed as it stands.

use std::iter::Peekable;

/// Whether the expression can be met with the `allowed` licences alone.
///
/// An expression that cannot be read is not met.
pub(super) fn is_met(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut tokens = spaced.split_whitespace().peekable();
    either(&mut tokens, allowed) == Some(true) && tokens.next().is_none()
}

fn either<'a>(
    tokens: &mut Peekable<impl Iterator<Item = &'a str>>,
    allowed: &[&str],
) -> Option<bool> {
    let mut met = both(tokens, allowed)?;
    while tokens.next_if_eq(&"OR").is_some() {
        met |= both(tokens, allowed)?;
    }
    Some(met)
}

fn both<'a>(
    tokens: &mut Peekable<impl Iterator<Item = &'a str>>,
    allowed: &[&str],
) -> Option<bool> {
    let mut met = one(tokens, allowed)?;
    while tokens.next_if_eq(&"AND").is_some() {
        met &= one(tokens, allowed)?;
    }
    Some(met)
}

fn one<'a>(tokens: &mut Peekable<impl Iterator<Item = &'a str>>, allowed: &[&str]) -> Option<bool> {
    let first = tokens.next()?;
    if first == "(" {
        let met = either(tokens, allowed)?;
        return (tokens.next() == Some(")")).then_some(met);
    }
    if tokens.next_if_eq(&"WITH").is_some() {
        let exception = tokens.next()?;
        return Some(allowed.contains(&format!("{first} WITH {exception}").as_str()));
    }
    Some(allowed.contains(&first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, met: bool) {
        assert_eq!(is_met(expression, &["MIT", "ISC"]), met, "{expression}");
    }

    #[test]
    fn one_side_of_or_and_every_side_of_and_must_be_allowed() {
        check("MIT", true);
        check("GPL-3.0-only", false);
        check("MIT OR GPL-3.0-only", true);
        check("GPL-3.0-only OR MIT", true);
        check("MIT/Apache-2.0", true);
        check("MIT AND ISC", true);
        check("MIT AND GPL-3.0-only", false);
        check("ISC AND (GPL-3.0-only OR MIT)", true);
        check("GPL-3.0-only OR MIT AND ISC", true);
        check("(GPL-3.0-only OR MIT) AND GPL-2.0-only", false);
    }

    #[test]
    fn an_exception_is_a_licence_of_its_own() {
        check("MIT WITH LLVM-exception", false);
        assert!(is_met("Apache-2.0 WITH LLVM-exception", &["Apache-2.0 WITH LLVM-exception"]));
    }

    #[test]
    fn what_cannot_be_read_is_not_met() {
        check("", false);
        check("(MIT", false);
        check("MIT ISC", false);
        check("MIT OR", false);
    }
}
