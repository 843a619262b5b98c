//! Every label and derivation info of the service, in one table.
//!
//! A label is the first part of whatever a key of ours signs, authenticates or derives from, so that bytes
//! made for one use never mean anything for another. A label is `chancery/`, a name, a version `/v1` and one
//! zero byte.
//!
//! **Invariant:** no label is a prefix of another. The zero byte occurs at the end alone, which makes it so,
//! and the test below holds the table to it. A label whose meaning changes gets a new version; no label is
//! used for two things.

/// Defines one constant for each label, and [`ALL`] with the whole table.
macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &[u8] = concat!("chancery/", $text, "\0").as_bytes();)*

        /// The whole table: the constant's name and its bytes.
        pub const ALL: &[(&str, &[u8])] = &[$((stringify!($name), $name)),*];
    };
}

labels! {
    /// The key under which an operation's answer is sealed in the log.
    ANSWER_KEY = "answer-key/v1";
    /// The key that seals the bodies of one audit section in one tenant and month.
    AUDIT_BODY_KEY = "audit-body-key/v1";
    /// The commitment of one field in an audit record's group.
    AUDIT_FIELD_COMMITMENT = "audit-field-commitment/v1";
    /// A log's word that it follows one that was retired, with the gap between them.
    AUDIT_FOLLOWS = "audit-follows/v1";
    /// An operator's statement that a log is retired, and of what is lost with it.
    AUDIT_GAP = "audit-gap/v1";
    /// Another person's approval of such a statement.
    AUDIT_GAP_APPROVAL = "audit-gap-approval/v1";
    /// The commitment of one group of an audit record.
    AUDIT_GROUP_COMMITMENT = "audit-group-commitment/v1";
    /// The keyed hash that stands for an operation id in audit records.
    AUDIT_OPERATION_ID = "audit-operation-id/v1";
    /// The log's word on which frame a page of frames ends with.
    AUDIT_PAGE = "audit-page/v1";
    /// The note that a log's first segments were pruned.
    AUDIT_PRUNED = "audit-pruned/v1";
    /// The keyed hash that stands for a name in audit records.
    AUDIT_PSEUDONYM = "audit-pseudonym/v1";
    /// The key from which each audit record's seed of salts is derived.
    AUDIT_SEED_KEY = "audit-seed-key/v1";
    /// The frame that a key with the format `bound` signs or authenticates.
    BOUND_FRAME = "bound-frame/v1";
    /// The key of one file in the chunked format.
    CHUNKED_FILE_KEY = "chunked-file-key/v1";
    /// The order in which a rollout takes consumers.
    COHORT = "cohort/v1";
    /// A principal's signature over a command.
    COMMAND_SIGNATURE = "command-signature/v1";
    /// The context of what a key of the format `cose` signs, in the externally supplied data.
    COSE_CONTEXT = "cose-context/v1";
    /// What is disclosed of the audit: signed by the log, and sealed to its recipient (RFC 9180).
    DISCLOSURE = "disclosure/v1";
    /// Commitment, key and nonce of one envelope.
    ENVELOPE_KEYS = "envelope-keys/v1";
    /// A holder's proof that a handle is in its hands.
    HANDLE_HOLDER_PROOF = "handle-holder-proof/v1";
    /// One link in the chain of a handle.
    HANDLE_LINK = "handle-link/v1";
    /// The hash by which one link of a handle is revoked.
    HANDLE_REVOCATION_ID = "handle-revocation-id/v1";
    /// The first link of a handle.
    HANDLE_ROOT = "handle-root/v1";
    /// What a caller derives from a key with the format `hkdf`.
    HKDF_DERIVE = "hkdf-derive/v1";
    /// A key that is brought in, sealed to a one-time key (RFC 9180).
    KEY_IMPORT = "key-import/v1";
    /// What names a log by the key that signs its frame heads.
    LOG_ID = "log-id/v1";
    /// The expansion of one row before it enters the digest of all rows.
    LTHASH_ROW = "lthash-row/v1";
    /// What a new version of a key is tried with.
    PROBE = "probe/v1";
    /// The head of one audit frame, signed for receipts.
    RECEIPT_HEAD = "receipt-head/v1";
    /// The file of principals whose reductions are taken without any secret.
    REDUCTION_ROOTS = "reduction-roots/v1";
    /// The keyed hash of a request, against which a repeat of its operation id is held.
    REQUEST_DIGEST = "request-digest/v1";
    /// The digest of a rollout's plan.
    ROLLOUT_PLAN = "rollout-plan/v1";
    /// What shows that a root key is the one that a state directory was made with.
    ROOT_CHECK = "root-check/v1";
    /// A root key that is wrapped under a passphrase.
    ROOT_KEY_WRAP = "root-key-wrap/v1";
    /// The key that seals one kind of row.
    ROW_KEY = "row-key/v1";
    /// The keyed hash that stands for a name as the name of a row.
    ROW_NAME = "row-name/v1";
    /// The key of one scope: tenant, environment, region.
    SCOPE_KEY = "scope-key/v1";
    /// The head of one tenant: generation, epoch and digest of its rows.
    TENANT_HEAD = "tenant-head/v1";
    /// A trust bundle.
    TRUST_BUNDLE = "trust-bundle/v1";
    /// The seed of a key that signs a tenant's trust bundles.
    TRUST_BUNDLE_KEY = "trust-bundle-key/v1";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_is_a_prefix_of_another_and_none_occurs_twice() {
        for (position, (name, label)) in ALL.iter().enumerate() {
            for (other_position, (other_name, other)) in ALL.iter().enumerate() {
                let same = position == other_position;
                assert_eq!(other.starts_with(label), same, "{name} and {other_name}");
                assert_eq!(name == other_name, same, "{name}");
            }
        }
    }

    #[test]
    fn every_label_has_the_prefix_a_version_and_one_zero_byte_at_its_end() {
        for (name, label) in ALL {
            let text = std::str::from_utf8(label).unwrap().strip_suffix('\0').unwrap();
            let (_, version) = text.strip_prefix("chancery/").unwrap().rsplit_once("/v").unwrap();
            assert!(version.parse::<u16>().is_ok_and(|version| version > 0), "{name}");
            assert!(!text.contains('\0'), "{name}");
        }
    }

    #[test]
    fn the_table_is_sorted_by_its_constants() {
        assert!(ALL.is_sorted_by_key(|(name, _)| *name));
    }
}
