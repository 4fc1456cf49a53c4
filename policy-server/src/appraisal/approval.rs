//! Makes what was measured the reference values of a version: new ones, or the union with those that exist.

use std::collections::{BTreeMap, BTreeSet};

use attestation::api::GrantTerms;
use attestation::component::MeasuredFile;
use attestation::digest::Digest;
use attestation::evidence::EvidenceClaims;
use attestation::key_uri::KeyUri;
use attestation::reference::{ArgvRule, AttesterRule, PrincipalRule, ReferenceValues};

use super::differences::{Finding, differences, runtime};
use super::forbidden::{InterpreterError, check_interpreter, forbidden_kind};

/// How widely the approver wants the values to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latitude {
    /// `--any-arguments`: a general tool.
    pub any_arguments: bool,
    /// `--any-user`.
    pub any_user: bool,
    /// `--allow-jit`.
    pub allow_jit: bool,
}

/// Why a measurement cannot become reference values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// A shell, loader, debugger or emulator.
    #[error("{path} is a {kind}: it runs whatever it is told and cannot be a component")]
    Forbidden {
        /// The executable.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// An interpreter that is not bound to one script.
    #[error("{0}; approve it as a general tool with --any-arguments, or start it with a script file only")]
    Interpreter(#[from] InterpreterError),
    /// The process was in a state that cannot be approved.
    #[error("the process was measured in a state that cannot be approved: {0}")]
    Runtime(String),
    /// The version exists and requires something else, which a union of values cannot express.
    #[error("the version exists and requires other values ({0}); approve under another version name")]
    Conflict(String),
}

/// The reference values after the approval of `claims`, added to `existing` where the version exists.
///
/// # Errors
/// [`ApprovalError`]; what is returned otherwise matches `claims` wholly.
pub fn approve(
    existing: Option<&ReferenceValues>,
    claims: &EvidenceClaims,
    latitude: Latitude,
) -> Result<ReferenceValues, ApprovalError> {
    let component = &claims.submods.component;
    if let Some(kind) = forbidden_kind(&component.executable.path) {
        return Err(ApprovalError::Forbidden { path: component.executable.path.clone(), kind });
    }
    let reference = match existing {
        Some(existing) => union(existing, claims, latitude)?,
        None => measured(claims, latitude),
    };
    if matches!(reference.argv, ArgvRule::Exact(_)) {
        check_interpreter(component)?;
    }
    let runtime = runtime(&component.runtime, reference.allow_jit);
    if !runtime.is_empty() {
        return Err(ApprovalError::Runtime(summary(&runtime)));
    }
    match differences(&reference, claims) {
        findings if findings.is_empty() => Ok(reference),
        findings => Err(ApprovalError::Conflict(summary(&findings))),
    }
}

fn summary(findings: &[Finding]) -> String {
    findings.iter().take(4).map(|finding| finding.reason().detail).collect::<Vec<_>>().join("; ")
}

fn measured(claims: &EvidenceClaims, latitude: Latitude) -> ReferenceValues {
    let component = &claims.submods.component;
    let attester = &claims.submods.attester;
    let libraries = component.mappings.iter().filter(|file| file.path != component.executable.path);
    ReferenceValues {
        executables: by_path([&component.executable]),
        libraries: by_path(libraries),
        scripts: by_path(&component.scripts),
        configuration: by_path(&component.configuration),
        principal: if latitude.any_user {
            PrincipalRule::Any
        } else {
            PrincipalRule::Exact(component.principal.clone())
        },
        argv: if latitude.any_arguments { ArgvRule::Any } else { ArgvRule::Exact(component.argv.clone()) },
        environment: component
            .environment
            .iter()
            .map(|(variable, value)| (variable.clone(), BTreeSet::from([value.clone()])))
            .collect(),
        attester: AttesterRule {
            shim: BTreeSet::from([attester.shim.sha256]),
            real_module: BTreeSet::from([attester.real_module.sha256]),
            configuration: BTreeSet::from([attester.configuration.sha256]),
        },
        allow_jit: latitude.allow_jit,
    }
}

/// Adds the measured values. Which scripts and configuration files are required does not change: that would
/// make earlier approvals of this version fail.
fn union(
    existing: &ReferenceValues,
    claims: &EvidenceClaims,
    latitude: Latitude,
) -> Result<ReferenceValues, ApprovalError> {
    let new = measured(claims, latitude);
    for (part, old, new) in [
        ("scripts", &existing.scripts, &new.scripts),
        ("configuration files", &existing.configuration, &new.configuration),
    ] {
        if !old.keys().eq(new.keys()) {
            let paths = old.keys().map(String::as_str).collect::<Vec<_>>();
            let list = if paths.is_empty() { "none".to_owned() } else { paths.join(", ") };
            return Err(ApprovalError::Conflict(format!("{part}: {list}")));
        }
    }
    // What one approval has set and another has not would be free to be left out.
    if !existing.environment.keys().eq(new.environment.keys()) {
        let variables = existing.environment.keys().map(String::as_str).collect::<Vec<_>>();
        let list = if variables.is_empty() { "none".to_owned() } else { variables.join(", ") };
        return Err(ApprovalError::Conflict(format!("environment variables: {list}")));
    }
    let mut reference = existing.clone();
    merge(&mut reference.executables, new.executables);
    merge(&mut reference.libraries, new.libraries);
    merge(&mut reference.scripts, new.scripts);
    merge(&mut reference.configuration, new.configuration);
    merge(&mut reference.environment, new.environment);
    reference.attester.shim.extend(new.attester.shim);
    reference.attester.real_module.extend(new.attester.real_module);
    reference.attester.configuration.extend(new.attester.configuration);
    if new.principal == PrincipalRule::Any {
        reference.principal = PrincipalRule::Any;
    }
    if new.argv == ArgvRule::Any {
        reference.argv = ArgvRule::Any;
    }
    reference.allow_jit |= new.allow_jit;
    Ok(reference)
}

fn by_path<'a>(files: impl IntoIterator<Item = &'a MeasuredFile>) -> BTreeMap<String, BTreeSet<Digest>> {
    let mut map = BTreeMap::<_, BTreeSet<_>>::new();
    for file in files {
        map.entry(file.path.clone()).or_default().insert(file.sha256);
    }
    map
}

fn merge<T: Ord>(into: &mut BTreeMap<String, BTreeSet<T>>, from: BTreeMap<String, BTreeSet<T>>) {
    for (key, values) in from {
        into.entry(key).or_default().extend(values);
    }
}

/// Why the terms of a grant are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// Not an RFC 7512 URI.
    #[error("`{key}` is not a key's PKCS#11 URI: {problem}")]
    NotAKeyUri {
        /// What was given.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The URI may match several keys.
    #[error(
        "`{key}` may match more than one key; name serial or token, type, and id or object, or grant it with --many"
    )]
    NotOneKey {
        /// What was given.
        key: String,
    },
    /// Nothing is granted.
    #[error("a grant needs at least one operation")]
    NoOperations,
}

/// Longest key URI in a grant, in bytes.
const MAX_KEY_URI: usize = 1024;

/// Checks a grant's terms; operations come back sorted, each once.
///
/// # Errors
/// [`TermsError`].
pub fn check_terms(terms: &GrantTerms) -> Result<GrantTerms, TermsError> {
    let key = || crate::text::bounded(&terms.key, 200);
    if terms.key.len() > MAX_KEY_URI {
        let problem = format!("it is longer than {MAX_KEY_URI} bytes");
        return Err(TermsError::NotAKeyUri { key: key(), problem });
    }
    let uri = KeyUri::parse(&terms.key)
        .map_err(|error| TermsError::NotAKeyUri { key: key(), problem: error.to_string() })?;
    if !terms.many && !uri.names_one_key() {
        return Err(TermsError::NotOneKey { key: key() });
    }
    if terms.operations.is_empty() {
        return Err(TermsError::NoOperations);
    }
    let operations = terms.operations.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    Ok(GrantTerms { operations, ..terms.clone() })
}
