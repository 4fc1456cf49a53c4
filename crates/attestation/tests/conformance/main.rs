//! The vectors of `tests/vectors`, which are part of docs/TRUST-TOKEN.md: each leads to the result that the index
//! names, and the `ear` crate reads our tokens.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use attestation::evidence::{verify_enrollment, verify_evidence};
use attestation::token::{Anchors, verify_token};

use cases::{Case, Kind};

mod cases;
mod ear_reads_tokens;
mod evidence_cases;
mod facts;
mod keys;
mod token_cases;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// The JWT of a vector: the file without its one newline.
pub fn read(file: &str) -> String {
    let text = fs::read_to_string(directory().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    text.strip_suffix('\n').unwrap_or_else(|| panic!("{file} has no newline at its end")).to_owned()
}

fn verify(case: &Case, jwt: &str) -> &'static str {
    match &case.kind {
        Kind::Token => {
            let context = token_cases::Context::new();
            let anchors = Anchors::parse(&keys::token_issuer().jwks()).unwrap();
            verify_token(jwt, &anchors, &context.expected(), token_cases::NOW_BOOTTIME_MS)
                .map_or_else(|error| error.code(), |_| "valid")
        }
        Kind::Evidence(key) => verify_evidence(jwt, key).map_or_else(|error| error.code(), |_| "valid"),
        Kind::Enrollment => verify_enrollment(jwt).map_or_else(|error| error.code(), |_| "valid"),
    }
}

#[test]
fn every_vector_leads_to_its_result() {
    let wrong: Vec<_> = cases::all()
        .iter()
        .map(|case| (case.name, case.expect, verify(case, &read(&case.file()))))
        .filter(|(_, expected, found)| expected != found)
        .collect();
    assert!(wrong.is_empty(), "(vector, expected, found): {wrong:#?}");
}

#[test]
fn the_files_are_what_make_vectors_writes() {
    let cases = cases::all();
    for case in &cases {
        let (written, made) = (read(&case.file()), case.jwt.as_str());
        let part = |jwt: &str| match case.randomised {
            true => jwt.rsplit_once('.').unwrap().0.to_owned(),
            false => jwt.to_owned(),
        };
        assert!(
            part(&written) == part(made),
            "{} is not up to date: run the example make_vectors",
            case.file()
        );
    }
    let text = |file: &str| fs::read_to_string(directory().join(file)).unwrap();
    assert_eq!(text("index.json"), cases::index(&cases));
    assert_eq!(text("context.json"), token_cases::Context::new().to_json());
    assert_eq!(text("component.json"), evidence_cases::component_json());
    let named: BTreeSet<_> = cases.iter().map(Case::file).collect();
    assert_eq!(named.len(), cases.len(), "two vectors have one name");
    let present: BTreeSet<_> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".jwt"))
        .collect();
    assert_eq!(present, named);
}
