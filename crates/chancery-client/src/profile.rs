//! `admin.toml`: where the service is, who its authority is, and who asks.
//!
//! ```toml
//! endpoint = "https://127.0.0.1:8440"
//! tenant = "default"
//! principal = "01990000-0000-7000-8000-000000000000"
//! role = "operator"
//! signing_key = "base64 of the 32-byte Ed25519 seed"
//! ca = """
//! -----BEGIN CERTIFICATE-----
//! …
//! -----END CERTIFICATE-----
//! """
//! ```
//!
//! **Invariant:** a profile that others can read, or that belongs to another user, is not used: whoever
//! reads it can do what its principal can.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::{fmt, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_core::id::PrincipalId;
use chancery_core::name::Name;
use chancery_core::principal::Role;
use serde::Deserialize;
use zeroize::Zeroizing;

/// The longest profile, in bytes: 64 KiB. One has about 1.5 KiB.
pub const PROFILE_BYTES_MAX: u64 = 64 * 1024;

/// The mode bits that give a file to others than its owner.
const OTHERS: u32 = 0o077;

/// How to reach a service, and as whom.
pub struct Profile {
    /// The service's base URL, without a path.
    pub endpoint: String,
    /// The tenant's name.
    pub tenant: Name,
    /// Who asks.
    pub principal: PrincipalId,
    /// What role that principal has, for people to read; the signer knows by itself.
    pub role: Role,
    /// The principal's Ed25519 seed.
    pub signing_key: Zeroizing<[u8; 32]>,
    /// The certificate of the local authority, the only one that is trusted, as PEM.
    pub ca: String,
}

/// The file is not a profile that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The text is not a profile.
    #[error("`{}` is not a profile: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never a line of it, which could hold the key.
        message: String,
    },
    /// Others can read or write the file.
    #[error("`{}` is open to others (mode {mode:04o}) and holds a signing key; run `chmod 600 {}`", path.display(), path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file belongs to another user.
    #[error("`{}` belongs to user {owner}, not to you ({user})", path.display())]
    OtherOwner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who runs this.
        user: u32,
    },
    /// The file cannot be read.
    #[error("cannot read the profile `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The text form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    endpoint: String,
    tenant: String,
    principal: String,
    role: String,
    signing_key: String,
    ca: String,
}

impl Profile {
    /// Reads a profile, after checking that the file is the user's own and closed to others.
    ///
    /// # Errors
    ///
    /// [`ProfileError`] names the file and says what to do.
    pub fn load(path: &Path) -> Result<Self, ProfileError> {
        let unreadable = |source| ProfileError::Read { path: path.into(), source };
        let file = File::open(path).map_err(unreadable)?;
        check_owner(path, &file.metadata().map_err(unreadable)?)?;
        let mut text = Zeroizing::new(String::new());
        // One byte more than allowed, so that a longer file is noticed.
        file.take(PROFILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > PROFILE_BYTES_MAX {
            let message = format!("it has more than {PROFILE_BYTES_MAX} bytes");
            return Err(ProfileError::Malformed { path: path.into(), message });
        }
        Self::parse(&text).map_err(|message| ProfileError::Malformed { path: path.into(), message })
    }

    /// Parses the text form; the error is what is wrong with it.
    ///
    /// # Errors
    ///
    /// A description that repeats nothing of the text but the names of fields.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text: Text = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let key = Zeroizing::new(text.signing_key);
        let is_https = text.endpoint.starts_with("https://") && !text.endpoint.ends_with('/');
        if !is_https {
            return Err("`endpoint` begins with `https://` and has no path".into());
        }
        Ok(Self {
            endpoint: text.endpoint,
            tenant: text.tenant.parse().map_err(|error| format!("`tenant`: {error}"))?,
            principal: text.principal.parse().map_err(|error| format!("`principal`: {error}"))?,
            role: role(&text.role).ok_or("`role` is `operator`, `developer` or `auditor`")?,
            signing_key: seed(&key).ok_or("`signing_key` is 32 bytes in base64")?,
            ca: text.ca,
        })
    }

    /// The text form, as it stands in `admin.toml`.
    #[must_use]
    pub fn to_toml(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(STANDARD.encode(*self.signing_key));
        Zeroizing::new(format!(
            "endpoint = \"{}\"\ntenant = \"{}\"\nprincipal = \"{}\"\nrole = \"{}\"\nsigning_key = \"{}\"\nca = \"\"\"\n{}\"\"\"\n",
            self.endpoint,
            self.tenant,
            self.principal,
            self.role.name(),
            key.as_str(),
            self.ca
        ))
    }
}

fn check_owner(path: &Path, metadata: &std::fs::Metadata) -> Result<(), ProfileError> {
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(ProfileError::OtherOwner { path: path.into(), owner: metadata.uid(), user });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(ProfileError::OpenToOthers { path: path.into(), mode });
    }
    Ok(())
}

fn role(name: &str) -> Option<Role> {
    Role::ALL.into_iter().find(|role| role.name() == name)
}

fn seed(base64: &str) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(STANDARD.decode(base64).ok()?);
    Some(Zeroizing::new(bytes.as_slice().try_into().ok()?))
}

impl fmt::Debug for Profile {
    /// Shows everything but the signing key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("endpoint", &self.endpoint)
            .field("tenant", &self.tenant)
            .field("principal", &self.principal)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            endpoint: "https://127.0.0.1:8440".into(),
            tenant: "default".parse().unwrap(),
            principal: PrincipalId::from_bytes([0x11; 16]),
            role: Role::Operator,
            signing_key: Zeroizing::new([7; 32]),
            ca: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
        }
    }

    /// The signer writes this text at genesis; both are held to these bytes.
    #[test]
    fn the_text_form_is_this() {
        assert_eq!(
            profile().to_toml().as_str(),
            "endpoint = \"https://127.0.0.1:8440\"\n\
             tenant = \"default\"\n\
             principal = \"11111111-1111-1111-1111-111111111111\"\n\
             role = \"operator\"\n\
             signing_key = \"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\"\n\
             ca = \"\"\"\n\
             -----BEGIN CERTIFICATE-----\n\
             AAAA\n\
             -----END CERTIFICATE-----\n\
             \"\"\"\n"
        );
    }

    #[test]
    fn the_text_form_is_read_back() {
        let read = Profile::parse(&profile().to_toml()).unwrap();
        assert_eq!(read.to_toml(), profile().to_toml());
    }

    #[test]
    fn another_field_a_plain_endpoint_and_a_short_key_are_refused() {
        let text = profile().to_toml();
        for (from, to) in [
            ("role = ", "colour = \"red\"\nrole = "),
            ("https://", "http://"),
            ("8440", "8440/"),
            ("operator", "root"),
            ("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", "BwcH"),
        ] {
            assert!(Profile::parse(&text.replacen(from, to, 1)).is_err(), "{to}");
        }
    }

    #[test]
    fn a_refusal_and_the_debug_form_hold_nothing_of_the_key() {
        let text = profile().to_toml().replace("role = ", "role = = ");
        assert!(!Profile::parse(&text).unwrap_err().contains("BwcH"));
        assert!(!format!("{:?}", profile()).contains("BwcH"));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_and_named() {
        let directory =
            std::env::temp_dir().join(format!("chancery-profile-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("admin.toml");
        std::fs::write(&path, profile().to_toml().as_bytes()).unwrap();
        let with_mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Profile::load(&path)
        };
        assert!(with_mode(0o600).is_ok());
        let refusal = with_mode(0o640).unwrap_err().to_string();
        assert!(refusal.contains("admin.toml") && refusal.contains("chmod 600"), "{refusal}");
        std::fs::remove_dir_all(&directory).unwrap();
        let missing = Profile::load(&path).unwrap_err();
        assert!(matches!(missing, ProfileError::Read { .. }), "{missing}");
    }
}
