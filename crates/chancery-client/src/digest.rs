//! The SHA-256 of what is too long to be sent (FIPS 180-4).

use std::io::{self, Read};

use aws_lc_rs::digest::{Context, SHA256};

/// How much is read at once, in bytes: 64 KiB.
const READ_BYTES: usize = 64 * 1024;

/// `SHA-256(everything that the reader gives)`, in constant memory.
///
/// # Errors
///
/// The reader's own.
pub fn sha256_of(mut reader: impl Read) -> io::Result<[u8; 32]> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => context.update(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut digest = [0; 32];
    // SHA-256 has 32 bytes, so that the lengths agree.
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_crypto::primitive::sha256;

    #[test]
    fn the_digest_is_that_of_the_whole_input_at_once() {
        for length in [0, 1, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, 3 * READ_BYTES] {
            let input = vec![7; length];
            assert_eq!(sha256_of(input.as_slice()).unwrap(), sha256(&[&input]), "{length}");
        }
    }
}
