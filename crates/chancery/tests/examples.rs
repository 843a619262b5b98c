//! The examples, run against a real service; what they print is checked by software that is not ours.
//!
//! The example programs are built with the workspace's tests, and lie beside this one; where they are missing,
//! since this package was built alone, they are built here. The second opinion is Python's `cryptography`.

#[cfg(test)]
mod harness;

#[cfg(test)]
mod examples {
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    use chancery_api::http::replies::AnswerObject;
    use chancery_core::command::{AuditQuery, Command as Asked};

    use crate::harness::{Service, ask, committed, text};

    /// The directory of the profile in which this test was built: this program is in `deps` below it.
    fn profile_directory() -> PathBuf {
        let own = std::env::current_exe().unwrap();
        own.ancestors().nth(2).unwrap().to_owned()
    }

    fn example(name: &str) -> PathBuf {
        let path = profile_directory().join("examples").join(name);
        if !path.exists() {
            let release = profile_directory().ends_with("release").then_some("--release");
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--locked", "-p", "chancery-client", "--examples"]).args(release);
            cargo.arg("--target-dir").arg(profile_directory().parent().unwrap());
            cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
            assert!(cargo.status().unwrap().success(), "the examples cannot be built");
        }
        path
    }

    /// Runs an example as the operator; what it printed, line by line.
    fn run(service: &Service, name: &str) -> Vec<String> {
        let mut command = Command::new(example(name));
        command.env("CHANCERY_CONTEXT", service.data().join("admin.toml"));
        let output =
            command.current_dir(service.directory()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        text(&output.stdout).lines().map(Into::into).collect()
    }

    /// Runs a program of Python's that fails if what it is given does not hold.
    fn python(program: &str, arguments: &[&str]) {
        let output = Command::new("python3").args(["-c", program]).args(arguments).output();
        let output = output.expect("this test needs `python3` with the package `cryptography`");
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    #[test]
    fn a_webhook_is_signed_for_one_endpoint_alone() {
        let service = Service::start();
        for _ in 0..2 {
            let lines = run(&service, "sign_webhook");
            let last = lines.last().unwrap();
            assert_eq!(last, "the receiver at `orders` accepts it, the one at `refunds` does not");
        }
    }

    /// RFC 7515, 5.2, with a key as RFC 7517 writes it.
    const VERIFY_JWS: &str = r"
import base64, json, sys
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
bytes_of = lambda text: base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
number_of = lambda text: int.from_bytes(bytes_of(text), 'big')
jwk, token = json.loads(sys.argv[1]), sys.argv[2]
header, claims, signature = token.split('.')
assert json.loads(bytes_of(header)) == {'alg': 'ES256', 'kid': jwk['kid'], 'typ': 'at+jwt'}, header
assert json.loads(bytes_of(claims))['sub'] == 'user-7'
curve, raw = ec.SECP256R1(), bytes_of(signature)
key = ec.EllipticCurvePublicNumbers(number_of(jwk['x']), number_of(jwk['y']), curve).public_key()
der = encode_dss_signature(int.from_bytes(raw[:32], 'big'), int.from_bytes(raw[32:], 'big'))
key.verify(der, (header + '.' + claims).encode(), ec.ECDSA(hashes.SHA256()))
";

    #[test]
    fn a_token_verifies_under_the_exported_key() {
        let service = Service::start();
        let lines = run(&service, "issue_token");
        assert!(lines[1].starts_with("verified: "), "{lines:?}");
        let jwk = service.done(&["key", "public", "example-token", "--format", "jwk"]);
        python(VERIFY_JWS, &[&jwk, &lines[0]]);
    }

    /// DSSE, protocol.md: the pre-authentication encoding, and ECDSA over it.
    const VERIFY_DSSE: &str = r"
import base64, json, sys
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key
key, envelope = load_pem_public_key(sys.argv[1].encode()), json.loads(sys.argv[2])
kind, payload = envelope['payloadType'].encode(), base64.b64decode(envelope['payload'])
assert kind == b'application/vnd.in-toto+json', kind
assert json.loads(payload)['_type'] == 'https://in-toto.io/Statement/v1'
signed = b'DSSEv1 %d %s %d %s' % (len(kind), kind, len(payload), payload)
[signature] = envelope['signatures']
raw = base64.b64decode(signature['sig'])
assert len(raw) == 96, len(raw)
der = encode_dss_signature(int.from_bytes(raw[:48], 'big'), int.from_bytes(raw[48:], 'big'))
key.verify(der, signed, ec.ECDSA(hashes.SHA384()))
";

    #[test]
    fn an_attestation_verifies_under_the_exported_key() {
        let service = Service::start();
        let lines = run(&service, "attest_artifact");
        assert!(lines[1].starts_with("verified: "), "{lines:?}");
        let pem = service.done(&["key", "public", "example-artifact", "--format", "pem"]);
        python(VERIFY_DSSE, &[&pem, &lines[0]]);
    }

    #[test]
    fn a_field_decrypts_in_its_own_row_alone() {
        let service = Service::start();
        let lines = run(&service, "encrypt_field");
        assert_eq!(lines[1], "row 7 reads it back");
        assert_eq!(lines[2], "in row 8 it is refused: verification-failed");
        // And the attempt is on record.
        let query = AuditQuery { outcome: Some(1), limit: 10, ..AuditQuery::default() };
        let answer = committed(ask(&service.client(), &Asked::QueryAudit(query))).answer;
        let AnswerObject::Records(records) = answer else { panic!("no records") };
        assert!(records.iter().any(|record| record.code == "verification-failed"), "{records:?}");
    }
}
