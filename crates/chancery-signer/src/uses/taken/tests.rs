//! The form of an item at its limits.

use chancery_core::context::Context;

use super::*;

fn check<'b>(operation: Operation, edit: impl FnOnce(&mut UseItem<'b>)) -> Result<(), Reason> {
    let context = Context::default();
    let form = InputForm::Message;
    let mut item =
        UseItem { id: None, context, form, input: b"", against: b"", length: 0, routing: b"" };
    edit(&mut item);
    check_form(operation, &item)
}

#[test]
fn inputs_are_as_long_as_they_may_be_and_no_longer() {
    let bytes = vec![0; AGAINST_BYTES_MAX + 1];
    for (operation, most) in [
        (Operation::Sign, MESSAGE_BYTES_MAX),
        (Operation::Mac, MESSAGE_BYTES_MAX),
        (Operation::Encrypt, MESSAGE_BYTES_MAX),
        (Operation::Decrypt, ENVELOPE_BYTES_MAX),
        (Operation::Unwrap, ENVELOPE_BYTES_MAX),
        (Operation::Rewrap, ENVELOPE_BYTES_MAX),
    ] {
        let of = |length: usize| check(operation, |item| item.input = &bytes[..length]);
        assert_eq!((of(most), of(most + 1)), (Ok(()), Err(Reason::TooLarge)), "{operation:?}");
    }
    for operation in [Operation::Verify, Operation::VerifyMac] {
        let of = |length: usize| check(operation, |item| item.against = &bytes[..length]);
        let most = AGAINST_BYTES_MAX;
        assert_eq!((of(most), of(most + 1)), (Ok(()), Err(Reason::TooLarge)), "{operation:?}");
    }
}

#[test]
fn a_digest_has_32_bytes() {
    for (length, expected) in
        [(31, Err(Reason::Malformed)), (32, Ok(())), (33, Err(Reason::Malformed))]
    {
        let bytes = vec![0; length];
        let of = check(Operation::Sign, |item| {
            item.form = InputForm::Digest;
            item.input = &bytes;
        });
        assert_eq!(of, expected, "{length}");
    }
}
