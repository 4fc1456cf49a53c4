//! Writes the vectors of `tests/vectors` anew: `cargo run -p attestation --example make_vectors`.
//!
//! Vectors with a random signature are left alone while what they sign has not changed.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, dead_code)]

use std::fs;
use std::path::Path;

#[path = "../tests/conformance/cases.rs"]
mod cases;
#[path = "../tests/conformance/evidence_cases.rs"]
mod evidence_cases;
#[path = "../tests/conformance/keys.rs"]
mod keys;
#[path = "../tests/conformance/token_cases.rs"]
mod token_cases;

fn main() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    for entry in fs::read_dir(&directory).expect("tests/vectors").map(|entry| entry.expect("an entry").path())
    {
        if entry.extension().is_some_and(|extension| extension == "jwt") && !is_wanted(&entry) {
            fs::remove_file(&entry).expect("an old vector is removed");
        }
    }
    let cases = cases::all();
    for case in &cases {
        let path = directory.join(case.file());
        let kept =
            case.randomised && fs::read_to_string(&path).is_ok_and(|old| same_content(&old, &case.jwt));
        if !kept {
            fs::write(&path, format!("{}\n", case.jwt)).expect("a vector is written");
        }
    }
    fs::write(directory.join("index.json"), cases::index(&cases)).expect("index.json is written");
    fs::write(directory.join("component.json"), evidence_cases::component_json())
        .expect("component.json is written");
    let context = token_cases::Context::new().to_json();
    fs::write(directory.join("context.json"), context).expect("context.json is written");
}

fn is_wanted(path: &Path) -> bool {
    cases::all().iter().any(|case| path.file_name().is_some_and(|name| *name == *case.file()))
}

fn same_content(old: &str, new: &str) -> bool {
    old.rsplit_once('.').map(|(input, _)| input) == new.rsplit_once('.').map(|(input, _)| input)
}
