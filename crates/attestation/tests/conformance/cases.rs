//! What a vector is, and the whole list of them.

use attestation::evidence::PublicJwk;
use serde_json::{Value, json};

use super::keys::TestKey;
use super::{evidence_cases, token_cases};

/// Which verification a vector is for.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `verify_token` against the context.
    Token,
    /// `verify_evidence` by this key.
    Evidence(PublicJwk),
    /// `verify_enrollment`.
    Enrollment,
}

/// One vector.
pub struct Case {
    /// Name of the defect and of the file.
    pub name: &'static str,
    pub kind: Kind,
    /// The code of the error, or `valid`.
    pub expect: &'static str,
    pub jwt: String,
    /// The signature is a random one: another run gives another.
    pub randomised: bool,
}

impl Case {
    pub fn file(&self) -> String {
        format!("{}.jwt", self.name)
    }
}

pub fn all() -> Vec<Case> {
    [token_cases::all(), evidence_cases::all(), evidence_cases::enrollments()].into_iter().flatten().collect()
}

/// `index.json`: what each file must lead to.
pub fn index(cases: &[Case]) -> String {
    let entries: serde_json::Map<String, Value> = cases
        .iter()
        .map(|case| {
            let entry = match &case.kind {
                Kind::Token => json!({"kind": "token", "expect": case.expect}),
                Kind::Evidence(key) => json!({"kind": "evidence", "expect": case.expect, "key": key}),
                Kind::Enrollment => json!({"kind": "enrollment", "expect": case.expect}),
            };
            (case.file(), entry)
        })
        .collect();
    pretty(&Value::Object(entries))
}

pub fn pretty(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap())
}

/// The header of a message that is as it should be.
pub fn header(typ: &str, key: &TestKey) -> Value {
    json!({"alg": key.public().algorithm().name(), "kid": key.kid(), "typ": typ})
}

/// `value` with the member that `pointer` names set to `member`.
pub fn with(value: &Value, pointer: &str, member: Value) -> Value {
    let mut value = value.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    parent.as_object_mut().unwrap().insert(name.to_owned(), member);
    value
}

/// `value` without the member that `pointer` names.
pub fn without(value: &Value, pointer: &str) -> Value {
    let mut value = value.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    parent.as_object_mut().unwrap().remove(name).unwrap_or_else(|| panic!("{pointer}"));
    value
}

/// `text` with `from`, which occurs once, replaced.
pub fn replace_once(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from}");
    text.replacen(from, to, 1)
}
