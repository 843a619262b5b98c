//! `docs/suites.md` is what the suite table says.

use chancery_core::purpose::Usage;
use chancery_core::suite::{PostQuantum, Properties, SUITES, Standing};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/suites.md");

const BEFORE: &str = "\
# Suites

Written from the table in `crates/chancery-core/src/suite.rs`, and held to it by the test
`the_document_is_the_table`. A key has one suite for life; its id is the one in stored and signed bytes.

| suite | id | for | classical strength, bits | post-quantum | SP 800-131A Rev. 2 | deprecated after | disallowed after | JOSE | COSE |
|---|---|---|---|---|---|---|---|---|---|
";

const AFTER: &str = "
- **Classical strength** follows NIST SP 800-57 Part 1, 5.6.1.
- **Post-quantum**: *none* is broken by a large quantum computer, *pure* is not; *hybrid* would hold while one of
  two components does, and no suite is of that kind yet.
- **SP 800-131A Rev. 2** (March 2019): *acceptable* at this strength, without an end, by the section named; a dash
  where it says nothing of the suite, which was standardized later or elsewhere.
- **Deprecated after, disallowed after** are years of NIST IR 8547, 4.1.1, table 2, as of its initial public draft
  (November 2024). It is a draft: the years may move. It would deprecate signatures of 112 bits after 2030 and
  disallow all that a quantum computer breaks after 2035; no suite here has fewer than 128 bits. Suites that are
  no signatures have no date.
- The service refuses no suite for its dates.
";

fn usage(usage: Usage) -> &'static str {
    match usage {
        Usage::Derive => "derive",
        Usage::Encrypt => "encrypt",
        Usage::Mac => "MAC",
        Usage::Sign => "sign",
        Usage::Wrap => "wrap",
    }
}

fn year(year: Option<u16>) -> String {
    year.map_or("-".into(), |year| year.to_string())
}

fn row(row: &Properties) -> String {
    let post_quantum = match row.post_quantum {
        PostQuantum::None => "none",
        PostQuantum::Hybrid => "hybrid",
        PostQuantum::Pure => "pure",
    };
    let standing = match row.standing {
        Standing::Acceptable(section) => format!("acceptable, {section}"),
        Standing::Unnamed => "-".into(),
    };
    let cells = [
        format!("`{}`", row.name),
        row.suite.number().to_string(),
        row.usage.iter().map(|&it| usage(it)).collect::<Vec<_>>().join(", "),
        row.strength_bits.to_string(),
        post_quantum.into(),
        standing,
        year(row.ir_8547_draft.deprecated_after),
        year(row.ir_8547_draft.disallowed_after),
        row.jose.map_or("-".into(), |alg| format!("`{alg}`")),
        row.cose.map_or("-".into(), |alg| alg.to_string()),
    ];
    format!("| {} |\n", cells.join(" | "))
}

#[test]
fn the_document_is_the_table() {
    let document = [BEFORE, &SUITES.iter().map(row).collect::<String>(), AFTER].concat();
    if std::env::var_os("CHANCERY_WRITE_SUITES").is_some() {
        std::fs::write(FILE, &document).unwrap();
    }
    let file = std::fs::read_to_string(FILE).unwrap();
    assert_eq!(file, document, "set CHANCERY_WRITE_SUITES to write the file anew");
}
