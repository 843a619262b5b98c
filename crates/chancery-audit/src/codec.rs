//! Fixed layouts: big-endian numbers and byte strings, one after the other.
//!
//! A reader is told exactly what to expect; there is one way to write a value and so one way to read it.

/// Reads a fixed layout.
#[derive(Clone, Debug)]
pub struct Reader<'b>(&'b [u8]);

/// The bytes end before the layout does, or hold what the layout does not admit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes do not have the layout")]
pub struct LayoutError;

/// Whether there is nothing but zeros. Many bytes are looked at before it is decided whether to go on.
pub(crate) fn is_zeros(bytes: &[u8]) -> bool {
    let in_piece = |piece: &[u8]| piece.iter().fold(0, |seen, byte| seen | byte) == 0;
    bytes.chunks(256).all(in_piece)
}

impl<'b> Reader<'b> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if there are fewer.
    pub fn bytes(&mut self, length: usize) -> Result<&'b [u8], LayoutError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(LayoutError)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], LayoutError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(LayoutError)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// The next byte.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if there is none.
    pub fn u8(&mut self) -> Result<u8, LayoutError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next number of two bytes.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if there are fewer.
    pub fn u16(&mut self) -> Result<u16, LayoutError> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next number of four bytes.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if there are fewer.
    pub fn u32(&mut self) -> Result<u32, LayoutError> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next number of eight bytes.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if there are fewer.
    pub fn u64(&mut self) -> Result<u64, LayoutError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next bytes must be these.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if they are others.
    pub fn expect(&mut self, expected: &[u8]) -> Result<(), LayoutError> {
        if self.bytes(expected.len())? == expected { Ok(()) } else { Err(LayoutError) }
    }

    /// There must be nothing left.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if there is.
    pub fn end(self) -> Result<(), LayoutError> {
        if self.0.is_empty() { Ok(()) } else { Err(LayoutError) }
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

/// A length as four bytes; ours are bounded far below 2^32.
#[must_use]
pub fn length32(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// A length as two bytes; for parts that are bounded below 2^16.
#[must_use]
pub fn length16(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}
