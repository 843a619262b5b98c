//! The front's own key and its certificate, which the signer issues.
//!
//! The key is made at each start and never leaves memory; the certificate lives for days and is asked for
//! again when two thirds of its life have gone.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use chancery_api::chancery_core::cbor;
use chancery_api::frame::{self, Decoder, FrameError, Kind};
use chancery_api::message::{CertificateReply, CertificateRequest};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use zeroize::Zeroize as _;

use crate::limits::CERTIFICATE_DEADLINE;
use crate::validity::Validity;

/// A key and its certificate were not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// The signer's stream failed.
    #[error("the signer's stream failed: {0}")]
    Io(#[from] io::Error),
    /// The key could not be made.
    #[error("the front's key could not be made: {0}")]
    Key(#[from] rcgen::Error),
    /// The signer sent something else.
    #[error("the signer did not answer with a certificate")]
    NoCertificate,
    /// The signer took too long.
    #[error("the signer took too long to issue a certificate")]
    TimedOut,
    /// The certificate does not go with the key.
    #[error("the certificate is of no use: {0}")]
    Unusable(#[from] rustls::Error),
}

impl From<FrameError> for CertificateError {
    fn from(_: FrameError) -> Self {
        Self::NoCertificate
    }
}

/// A key with its certificate.
#[derive(Debug)]
pub(crate) struct Issued {
    /// Both, as TLS takes them.
    pub certified: CertifiedKey,
    /// When another is due, in seconds since 1970.
    pub renewal_s: u64,
}

/// A key that awaits its certificate.
pub(crate) struct Wanted {
    key: KeyPair,
}

impl Wanted {
    /// Makes a P-256 key. For which names its certificate will hold is the signer's to decide.
    pub(crate) fn new() -> Result<Self, CertificateError> {
        Ok(Self { key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)? })
    }

    /// Asks the signer for the certificate, over a stream of its own.
    pub(crate) async fn issue(self, socket: &Path) -> Result<Issued, CertificateError> {
        let exchange = exchange(socket, self.key.der_bytes());
        let certificate = tokio::time::timeout(CERTIFICATE_DEADLINE, exchange)
            .await
            .map_err(|_| CertificateError::TimedOut)??;
        self.with(certificate)
    }

    fn with(self, certificate: Vec<u8>) -> Result<Issued, CertificateError> {
        let validity = Validity::of(&certificate).ok_or(CertificateError::NoCertificate)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialized_der()));
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?;
        let certified = CertifiedKey::new(vec![CertificateDer::from(certificate)], key);
        certified.keys_match()?;
        Ok(Issued { certified, renewal_s: validity.renewal_s() })
    }
}

impl Drop for Wanted {
    /// What TLS signs with is a copy, as numbers; the encoding is not needed any more.
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Issued {
    /// Whether another is due.
    pub(crate) fn is_due(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_secs() >= self.renewal_s
    }
}

async fn exchange(socket: &Path, public_key: &[u8]) -> Result<Vec<u8>, CertificateError> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut out = Vec::new();
    frame::write(
        &mut out,
        Kind::Certificate,
        1,
        &CertificateRequest { public_key: public_key.to_vec() },
    )?;
    stream.write_all(&out).await?;
    let mut decoder = Decoder::default();
    let mut buffer = [0; 4 * 1024];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(CertificateError::NoCertificate);
        }
        decoder.push(buffer.get(..count).unwrap_or_default());
        if let Some((header, body)) = decoder.next_frame()? {
            return certificate_in(header, body);
        }
    }
}

fn certificate_in(header: frame::Header, body: &[u8]) -> Result<Vec<u8>, CertificateError> {
    if (header.kind, header.tag) != (Kind::CertificateReply, 1) {
        return Err(CertificateError::NoCertificate);
    }
    let reply: CertificateReply =
        cbor::decode(body, "certificate").map_err(|_| CertificateError::NoCertificate)?;
    Ok(reply.certificate)
}

#[cfg(test)]
mod tests {
    use rcgen::CertificateParams;

    use super::*;

    fn wanted() -> Wanted {
        Wanted::new().unwrap()
    }

    fn certificate(key: &KeyPair) -> Vec<u8> {
        CertificateParams::new(vec!["front.test".into()])
            .unwrap()
            .self_signed(key)
            .unwrap()
            .der()
            .to_vec()
    }

    #[test]
    fn a_certificate_for_another_key_is_refused() {
        let wanted = wanted();
        let own = certificate(&wanted.key);
        assert!(wanted.with(own).is_ok());
        let other = certificate(&self::wanted().key);
        assert!(matches!(self::wanted().with(other), Err(CertificateError::Unusable(_))));
    }

    #[test]
    fn another_is_due_once_its_time_has_come() {
        let wanted = wanted();
        let own = certificate(&wanted.key);
        let issued = wanted.with(own).unwrap();
        assert!(!issued.is_due());
        assert!(Issued { renewal_s: 1, ..issued }.is_due());
    }

    #[test]
    fn no_certificate_is_refused() {
        assert!(matches!(wanted().with(Vec::new()), Err(CertificateError::NoCertificate)));
    }
}
