//! Makes what was measured the reference values of a version: new ones, or the union with those that exist.

use std::collections::{BTreeMap, BTreeSet};

use attestation::evidence::EvidenceClaims;
use attestation::reference::{ArgumentPatterns, ArgvRule, PrincipalRule, ReferenceValues};

use super::argument_pattern::{self, PatternError};
use super::differences::{Finding, differences, runtime};
use super::forbidden::{InterpreterError, check_interpreter, forbidden_kind};
use super::policy::{LibrarySets, Policy};
use super::recognition::retired_files;

/// How widely the approver wants the values to count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latitude {
    /// `--any-arguments`: a general tool.
    pub any_arguments: bool,
    /// `--any-user`.
    pub any_user: bool,
    /// `--allow-jit`.
    pub allow_jit: bool,
    /// `--argument`: patterns by position.
    pub arguments: BTreeMap<usize, String>,
    /// `--more-arguments`: from this position on, any number of this pattern.
    pub more_arguments: Option<(usize, String)>,
    /// `--environment`: further values by variable.
    pub environment: BTreeMap<String, BTreeSet<String>>,
    /// `--library-set`.
    pub library_sets: BTreeSet<String>,
}

/// Why a measurement or a manifest cannot become reference values.
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
    /// Somebody has retired a file of it by its digest.
    #[error("{0}; `trustshim component retired-files` says by whom")]
    FileRetired(String),
    /// An interpreter that is not bound to one script.
    #[error("{0}; approve it as a general tool with --any-arguments, or start it with a script file only")]
    Interpreter(#[from] InterpreterError),
    /// A value was given for a variable that was not set.
    #[error("{0} was not set when measured, so that it must not be set; approve a run that has it set")]
    NotSet(String),
    /// Patterns that cannot be compared.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Patterns and any arguments at once, or patterns for arguments that there are not.
    #[error("{0}")]
    Arguments(String),
    /// The process was in a state that cannot be approved.
    #[error("the process was measured in a state that cannot be approved: {0}")]
    Runtime(String),
    /// A set that knows none of the measured libraries.
    #[error("the set {0} holds none of the measured libraries; `trustshim set show {0}` lists what it holds")]
    SetUnused(String),
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
    latitude: &Latitude,
    policy: &Policy,
) -> Result<ReferenceValues, ApprovalError> {
    let component = &claims.submods.component;
    if let Some(kind) = forbidden_kind(&component.executable.path) {
        return Err(ApprovalError::Forbidden { path: component.executable.path.clone(), kind });
    }
    if let Some(retired) = retired_files(policy, claims).first() {
        return Err(ApprovalError::FileRetired(retired.detail.clone()));
    }
    let new = measured(claims, latitude, &policy.sets)?;
    check_interpreter(&component.executable.path, &new.argv, !component.scripts.is_empty())?;
    let reference = match existing {
        Some(existing) => {
            check_inherited(existing, &new)?;
            union(existing, new)?
        }
        None => new,
    };
    // New patterns count for every program of the version, not for the measured one alone.
    for path in reference.executables.keys() {
        check_interpreter(path, &reference.argv, !reference.scripts.is_empty())?;
    }
    let runtime = runtime(&component.runtime, reference.allow_jit);
    if !runtime.is_empty() {
        return Err(ApprovalError::Runtime(summary(&runtime)));
    }
    match differences(&reference, &policy.sets, claims) {
        findings if findings.is_empty() => Ok(reference),
        findings => Err(ApprovalError::Conflict(summary(&findings))),
    }
}

fn summary(findings: &[Finding]) -> String {
    findings.iter().take(4).map(|finding| finding.reason().detail).collect::<Vec<_>>().join("; ")
}

fn measured(
    claims: &EvidenceClaims,
    latitude: &Latitude,
    sets: &LibrarySets,
) -> Result<ReferenceValues, ApprovalError> {
    let component = &claims.submods.component;
    let mut reference = ReferenceValues::of(component, &claims.submods.attester);
    if latitude.any_user {
        reference.principal = PrincipalRule::Any;
    }
    reference.argv = argv_rule(&component.argv, latitude)?;
    reference.allow_jit = latitude.allow_jit;
    for (variable, values) in &latitude.environment {
        let approved = reference.environment.get_mut(variable);
        let approved = approved.ok_or_else(|| ApprovalError::NotSet(crate::text::bounded(variable, 200)))?;
        approved.extend(values.iter().cloned());
    }
    let all = reference.libraries.clone();
    for set in &latitude.library_sets {
        let name = BTreeSet::from([set.clone()]);
        let mut used = false;
        for (path, own) in &mut reference.libraries {
            let known: BTreeSet<_> = sets.digests(&name, path).collect();
            used |= all.get(path).is_some_and(|measured| !measured.is_disjoint(&known));
            // Digests that the set supplies are left to the set, and end with it.
            own.retain(|digest| !known.contains(digest));
        }
        if !used {
            return Err(ApprovalError::SetUnused(set.clone()));
        }
        reference.library_sets.insert(set.clone());
    }
    Ok(reference)
}

/// The rule for arguments that were measured: exact, or with the patterns that were given in their places.
fn argv_rule(measured: &[String], latitude: &Latitude) -> Result<ArgvRule, ApprovalError> {
    let Latitude { any_arguments, arguments, more_arguments, .. } = latitude;
    if arguments.is_empty() && more_arguments.is_none() {
        return Ok(if *any_arguments { ArgvRule::Any } else { ArgvRule::Exact(measured.to_vec()) });
    }
    let wrong = |what: String| Err(ApprovalError::Arguments(what));
    if *any_arguments {
        return wrong(
            "any arguments are to be accepted: patterns would add nothing; leave one out".to_owned(),
        );
    }
    let (end, more) = match more_arguments {
        Some((position, pattern)) => (*position, Some(pattern.clone())),
        None => (measured.len(), None),
    };
    if end == 0 || end > measured.len() || arguments.keys().any(|position| *position >= end) {
        return wrong(format!(
            "{} arguments were measured, counted from 0; a pattern takes the place of one of them, and more may \
             follow from position 1 to {} on",
            measured.len(),
            measured.len()
        ));
    }
    let pattern = |(position, argument): (usize, &String)| match arguments.get(&position) {
        Some(pattern) => Ok(pattern.clone()),
        None => {
            let literal = argument_pattern::literal(argument);
            let is_exact = argument_pattern::is_literal(&literal);
            is_exact.then_some(literal).ok_or_else(|| PatternError::NotEscaped(argument.clone()))
        }
    };
    let each = measured.iter().take(end).enumerate().map(pattern).collect::<Result<_, _>>()?;
    let patterns = ArgumentPatterns { each, more };
    argument_pattern::check(&patterns)?;
    let differing = argument_pattern::mismatches(&patterns, measured);
    if let Some((position, _)) = differing.first() {
        return wrong(format!("the pattern for argument {position} does not match what was measured there"));
    }
    Ok(ArgvRule::Patterns(patterns))
}

/// The rule that lets through what either does, where one of them already does.
fn wider(existing: &ArgvRule, new: ArgvRule) -> Result<ArgvRule, ApprovalError> {
    match (existing, new) {
        (ArgvRule::Any, _) | (_, ArgvRule::Any) => Ok(ArgvRule::Any),
        (ArgvRule::Exact(old), ArgvRule::Patterns(new)) => {
            if argument_pattern::mismatches(&new, old).is_empty() {
                Ok(ArgvRule::Patterns(new))
            } else {
                Err(ApprovalError::Conflict("arguments that the patterns do not match".to_owned()))
            }
        }
        (ArgvRule::Patterns(old), ArgvRule::Patterns(new)) if *old != new => {
            Err(ApprovalError::Conflict("other patterns for its arguments".to_owned()))
        }
        // Exact arguments that the rule does not let through are found by the comparison at the end.
        (existing, _) => Ok(existing.clone()),
    }
}

/// A program that is new to the version comes under what the version's other programs are allowed only where the approver
/// says so for it as well: what was approved for one is not for another, such as an interpreter beside a compiled tool.
fn check_inherited(existing: &ReferenceValues, new: &ReferenceValues) -> Result<(), ApprovalError> {
    if new.executables.keys().all(|path| existing.executables.contains_key(path)) {
        return Ok(());
    }
    let inherited = [
        (existing.argv == ArgvRule::Any && new.argv != ArgvRule::Any, "any arguments"),
        (
            matches!((&existing.argv, &new.argv), (ArgvRule::Patterns(_), ArgvRule::Exact(_))),
            "patterns for arguments",
        ),
        (existing.principal == PrincipalRule::Any && new.principal != PrincipalRule::Any, "any user"),
        (existing.allow_jit && !new.allow_jit, "code generated at run time"),
    ];
    match inherited.into_iter().find(|(is_inherited, _)| *is_inherited) {
        None => Ok(()),
        Some((_, what)) => Err(ApprovalError::Conflict(format!(
            "{what}, which nothing says of this program; say so for it, too"
        ))),
    }
}

/// Adds the measured values. Which scripts and configuration files are required does not change: that would
/// make earlier approvals of this version fail.
fn union(existing: &ReferenceValues, new: ReferenceValues) -> Result<ReferenceValues, ApprovalError> {
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
    reference.library_sets.extend(new.library_sets);
    merge(&mut reference.scripts, new.scripts);
    merge(&mut reference.configuration, new.configuration);
    merge(&mut reference.environment, new.environment);
    reference.attester.shim.extend(new.attester.shim);
    reference.attester.real_module.extend(new.attester.real_module);
    reference.attester.configuration.extend(new.attester.configuration);
    if new.principal == PrincipalRule::Any {
        reference.principal = PrincipalRule::Any;
    }
    reference.argv = wider(&existing.argv, new.argv)?;
    reference.allow_jit |= new.allow_jit;
    Ok(reference)
}

fn merge<T: Ord>(into: &mut BTreeMap<String, BTreeSet<T>>, from: BTreeMap<String, BTreeSet<T>>) {
    for (key, values) in from {
        into.entry(key).or_default().extend(values);
    }
}
