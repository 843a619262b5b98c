//! Commands that look at keys.

use anyhow::{Context as _, Result};
use chancery_api::http::replies::{AnswerObject, KeyObject, VersionObject, state_name};
use chancery_client::Client;
use chancery_core::command::Command;
use chancery_core::key::Provenance;
use chancery_core::name::Name;
use chancery_crypto::export;
use chancery_crypto::formats::KeyVersion;
use chancery_crypto::key::PublicKey;

use super::PublicArgs;
use crate::cli::Shared;
use crate::commands::{answer_json, read, unexpected};
use crate::connection;
use crate::exit::Failure;
use crate::moment;
use crate::render::{Format, View, print, show};

/// Carries `key list` out.
pub(super) fn list(shared: &Shared) -> Result<(), Failure> {
    let client = connection::client(shared)?;
    let keys = all(&client)?;
    let head = vec!["name", "purpose", "algorithm", "version", "state", "scope"];
    let rows = keys.iter().map(row).collect();
    Ok(show(shared.format, &View::Rows { head, rows }, &answer_json(&keys)?)?)
}

/// Reads page after page.
fn all(client: &Client) -> Result<Vec<KeyObject>, Failure> {
    let mut keys: Vec<KeyObject> = Vec::new();
    loop {
        let after = keys.last().map(|key| key.name.clone());
        let answer = read(client, &Command::ListKeys { after })?;
        let AnswerObject::Keys(page) = answer else { return Err(unexpected()) };
        // An empty page that promises more would go on for ever.
        let is_last = !page.more || page.keys.is_empty();
        keys.extend(page.keys);
        if is_last {
            return Ok(keys);
        }
    }
}

fn row(key: &KeyObject) -> Vec<String> {
    let scheduled = key.versions.iter().find(|version| version.version == key.scheduled_version);
    vec![
        key.name.to_string(),
        key.purpose.to_string(),
        key.algorithm.to_string(),
        key.scheduled_version.to_string(),
        scheduled.map_or_else(String::new, state),
        scope(key),
    ]
}

fn scope(key: &KeyObject) -> String {
    format!("{}/{}/{}", key.scope.environment, key.scope.region, key.scope.service)
}

fn state(version: &VersionObject) -> String {
    let state = state_name(version.state);
    if version.destruction_served_ms.is_some() {
        format!("{state}, destruction scheduled")
    } else {
        state.into()
    }
}

/// One key, as the service shows it.
pub(crate) fn key(client: &Client, name: &Name) -> Result<KeyObject, Failure> {
    let answer = read(client, &Command::ShowKey { key: name.clone() })?;
    let AnswerObject::Key(key) = answer else { return Err(unexpected()) };
    Ok(key)
}

/// Carries `key show` out.
pub(super) fn one(shared: &Shared, name: &Name) -> Result<(), Failure> {
    let key = key(&connection::client(shared)?, name)?;
    Ok(show(shared.format, &View::Fields(fields(&key)), &answer_json(&key)?)?)
}

/// A key as names and values, with a line for each version.
pub(super) fn fields(key: &KeyObject) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("name", key.name.to_string()),
        ("id", key.id.to_string()),
        ("purpose", key.purpose.to_string()),
        ("algorithm", key.algorithm.to_string()),
        ("scope", scope(key)),
        ("protects with", format!("version {}", key.scheduled_version)),
    ];
    if let Some(rollout) = key.rollout {
        fields.push((
            "moved by",
            format!("rollout {rollout} (`chancery rollout show {}`)", key.name),
        ));
    }
    if key.witnessed {
        fields.push(("answers", "leave when a quorum of witnesses has cosigned them".into()));
    }
    fields.extend(key.versions.iter().map(|version| ("version", version_line(version))));
    fields
}

fn version_line(version: &VersionObject) -> String {
    let origin = match version.provenance {
        Provenance::Generated => "generated",
        Provenance::Imported => "imported",
    };
    let algorithm = version.algorithm.map(|suite| format!(", {suite}")).unwrap_or_default();
    format!(
        "{}: {}{algorithm}, {origin} {}",
        version.version,
        state(version),
        moment::text(version.created_ms)
    )
}

/// Carries `key public` out.
pub(super) fn public(shared: &Shared, args: &PublicArgs) -> Result<(), Failure> {
    let key = key(&connection::client(shared)?, &args.name)?;
    let number = args.version.unwrap_or(key.scheduled_version);
    Ok(print(export(&key, number, args.format)?.as_bytes())?)
}

fn export(key: &KeyObject, number: u32, format: Format) -> Result<String> {
    let version = key.versions.iter().find(|version| version.version == number);
    let version = version.with_context(|| format!("`{}` has no version {number}", key.name))?;
    let spki = version.public_key.as_ref().with_context(|| {
        format!("`{}` is an `{}` key, which has no public half", key.name, key.algorithm)
    })?;
    let algorithm = version.algorithm.unwrap_or(key.algorithm);
    let public = PublicKey::from_spki(algorithm, &spki.0)
        .context("the service gave no usable public key")?;
    let text = match format {
        Format::Jwk | Format::Json => {
            export::jwk(&public, KeyVersion { key: key.id, version: number })?
        }
        Format::Ssh => export::openssh(&public)?,
        Format::Pem | Format::Table => export::pem(&public),
    };
    Ok(format!("{}\n", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use chancery_api::http::fields::Base64;
    use chancery_core::suite::Suite;
    use chancery_crypto::key::PrivateKey;
    use serde_json::json;

    use super::*;

    fn object(algorithm: Suite, public: Option<&[u8]>) -> KeyObject {
        let public = public.map(|bytes| Base64(bytes.to_vec()).to_text());
        let mut version =
            json!({ "version": 1, "state": "active", "created_ms": 0, "provenance": "generated" });
        if let Some(public) = public {
            version["public_key"] = public.into();
        }
        let epoch = json!({ "generation": 0, "number": 1 });
        let id = "01881234-5678-7bab-abab-abababababab";
        serde_json::from_value(json!({
            "id": id,
            "tenant": id,
            "name": "invoices",
            "scope": { "environment": "test", "region": "eu", "service": "billing" },
            "purpose": "sign.bound:invoice",
            "algorithm": algorithm.to_string(),
            "scheduled_version": 1,
            "authority_epoch": epoch,
            "min_issue_epoch": epoch,
            "versions": [version],
            "witnessed": false,
        }))
        .unwrap()
    }

    #[test]
    fn a_public_half_is_written_in_each_form() {
        let key = PrivateKey::generate(Suite::Ed25519).unwrap();
        let object = object(Suite::Ed25519, Some(key.public().unwrap().spki()));
        for (format, start) in [
            (Format::Pem, "-----BEGIN PUBLIC KEY-----\n"),
            (Format::Jwk, "{"),
            (Format::Ssh, "ssh-ed25519 "),
        ] {
            let text = export(&object, 1, format).unwrap();
            assert!(text.starts_with(start) && text.ends_with('\n'), "{text}");
        }
    }

    #[test]
    fn a_key_without_a_public_half_or_version_says_so() {
        let secret =
            export(&object(Suite::HmacSha256, None), 1, Format::Pem).unwrap_err().to_string();
        assert!(secret.contains("no public half"), "{secret}");
        let missing =
            export(&object(Suite::Ed25519, None), 2, Format::Pem).unwrap_err().to_string();
        assert!(missing.contains("no version 2"), "{missing}");
    }

    #[test]
    fn a_row_shows_the_version_that_protects() {
        let row = row(&object(Suite::Ed25519, None));
        let expected =
            ["invoices", "sign.bound:invoice", "ed25519", "1", "active", "test/eu/billing"];
        assert_eq!(row, expected);
    }
}
