//! What a manifest must be to become the reference values of a version: nothing else has looked at it.

use std::collections::BTreeSet;

use attestation::reference::{ArgvRule, PrincipalRule, ReferenceValues};

use super::approval::ApprovalError;
use super::argument_pattern;
use super::forbidden::{check_interpreter, forbidden_kind};
use super::policy::Policy;
use crate::text;

/// Why a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// What an approval would be refused for as well.
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    /// A list that no measurement could match.
    #[error("the manifest names no {0}: nothing could match it")]
    Nothing(&'static str),
    /// Text that no measurement holds.
    #[error("the manifest holds `{0}`, which is not escaped as `trustshim measure` writes it")]
    NotEscaped(String),
    /// A set that does not exist.
    #[error("there is no library set {0}; `trustshim set create` makes one")]
    SetUnknown(String),
}

/// Checks a manifest's values.
///
/// # Errors
/// [`ImportError`].
pub fn check_manifest(reference: &ReferenceValues, policy: &Policy) -> Result<(), ImportError> {
    check_text(reference)?;
    check_lists(reference, policy)?;
    for path in reference.executables.keys() {
        if let Some(kind) = forbidden_kind(path) {
            return Err(ApprovalError::Forbidden { path: path.clone(), kind }.into());
        }
        check_interpreter(path, &reference.argv, !reference.scripts.is_empty())
            .map_err(ApprovalError::from)?;
    }
    if let ArgvRule::Patterns(patterns) = &reference.argv {
        argument_pattern::check(patterns).map_err(ApprovalError::from)?;
    }
    Ok(())
}

fn check_text(reference: &ReferenceValues) -> Result<(), ImportError> {
    let ReferenceValues {
        executables,
        libraries,
        library_sets,
        scripts,
        configuration,
        principal,
        argv,
        environment,
        attester: _,
        allow_jit: _,
        sandbox: _,
    } = reference;
    let paths = [executables, libraries, scripts, configuration].into_iter().flat_map(|files| files.keys());
    let arguments: Vec<&String> = match argv {
        ArgvRule::Any => Vec::new(),
        ArgvRule::Exact(arguments) => arguments.iter().collect(),
        ArgvRule::Patterns(patterns) => patterns.each.iter().chain(&patterns.more).collect(),
    };
    let unit = match principal {
        PrincipalRule::Exact(principal) => principal.unit.as_ref(),
        PrincipalRule::Any => None,
    };
    let variables = environment.iter().flat_map(|(variable, values)| values.iter().chain([variable]));
    let mut all = paths.chain(library_sets).chain(arguments).chain(unit).chain(variables);
    match all.find(|text| !text::is_escaped(text)) {
        Some(text) => Err(ImportError::NotEscaped(text::bounded(text, 200))),
        None => Ok(()),
    }
}

fn check_lists(reference: &ReferenceValues, policy: &Policy) -> Result<(), ImportError> {
    let attester = &reference.attester;
    let exact = [&reference.executables, &reference.scripts, &reference.configuration];
    for (digests, what) in [
        (&attester.shim, "shim"),
        (&attester.real_module, "real module"),
        (&attester.configuration, "configuration of the shim"),
    ]
    .into_iter()
    .chain(exact.iter().flat_map(|files| files.values()).map(|digests| (digests, "digest for a file")))
    {
        if digests.is_empty() {
            return Err(ImportError::Nothing(what));
        }
    }
    if reference.executables.is_empty() {
        return Err(ImportError::Nothing("executable"));
    }
    if reference.environment.values().any(BTreeSet::is_empty) {
        return Err(ImportError::Nothing("value for a variable"));
    }
    let without_digest = |(path, own): (&String, &BTreeSet<_>)| {
        own.is_empty() && policy.sets.digests(&reference.library_sets, path).next().is_none()
    };
    if let Some(set) = reference.library_sets.iter().find(|set| !policy.sets.0.contains_key(*set)) {
        return Err(ImportError::SetUnknown(text::bounded(set, 64)));
    }
    if reference.libraries.iter().any(without_digest) {
        return Err(ImportError::Nothing("digest for a library, and no set that has one"));
    }
    let all = exact.into_iter().chain([&reference.libraries]).flat_map(|files| files.values().flatten());
    let all = all.chain(&attester.shim).chain(&attester.real_module).chain(&attester.configuration);
    let mut retired = all.filter(|digest| policy.retired_files.contains(digest));
    match retired.next() {
        Some(digest) => Err(ApprovalError::FileRetired(format!("the content {digest} was retired")).into()),
        None => Ok(()),
    }
}
