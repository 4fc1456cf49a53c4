//! The comparison of one measurement with the reference values of one version, item by item.
//!
//! A version matches exactly where this finds nothing; `explain` shows the same list to people.

use std::collections::{BTreeMap, BTreeSet};

use attestation::api::{Change, Difference};
use attestation::component::{Component, MeasuredFile, Principal, Runtime};
use attestation::decision::Reason;
use attestation::digest::Digest;
use attestation::evidence::{AttesterClaims, EvidenceClaims};
use attestation::reference::{ArgvRule, AttesterRule, PrincipalRule, ReferenceValues, SandboxRule};

use super::argument_pattern;
use super::policy::LibrarySets;
use super::reason::ReasonCode;

/// One difference and the code under which it refuses evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The reason code.
    pub code: ReasonCode,
    /// What differs.
    pub difference: Difference,
}

impl Finding {
    fn new(
        code: ReasonCode,
        part: &str,
        item: impl Into<String>,
        expected: Option<String>,
        measured: Option<String>,
    ) -> Self {
        let change = match (&expected, &measured) {
            (None, _) => Change::Added,
            (Some(_), None) => Change::Missing,
            (Some(_), Some(_)) => Change::Changed,
        };
        let difference = Difference { part: part.to_owned(), item: item.into(), change, expected, measured };
        Self { code, difference }
    }

    /// The finding as a reason for a refusal.
    pub fn reason(&self) -> Reason {
        let Difference { part, item, change, expected, measured } = &self.difference;
        let absent = String::new();
        let expected = expected.as_ref().unwrap_or(&absent);
        let measured = measured.as_ref().unwrap_or(&absent);
        self.code.because(match change {
            Change::Added => format!("{part} {item} is not approved: {measured}"),
            Change::Changed => format!("{part} {item} is {measured}; approved is {expected}"),
            Change::Missing => format!("{part} {item} is required and was not measured"),
        })
    }
}

/// Everything in which `claims` differ from `reference`; empty where they match wholly.
pub fn differences(reference: &ReferenceValues, sets: &LibrarySets, claims: &EvidenceClaims) -> Vec<Finding> {
    let component = &claims.submods.component;
    let mut findings = Vec::new();
    executable(reference, component, &mut findings);
    libraries(reference, sets, component, &mut findings);
    exact_files("script", SCRIPT_CODES, &reference.scripts, &component.scripts, &mut findings);
    exact_files(
        "configuration",
        CONFIGURATION_CODES,
        &reference.configuration,
        &component.configuration,
        &mut findings,
    );
    principal(&reference.principal, &component.principal, &mut findings);
    argv(&reference.argv, &component.argv, &mut findings);
    environment(&reference.environment, &component.environment, &mut findings);
    attester(&reference.attester, &claims.submods.attester, &mut findings);
    sandbox(&reference.sandbox, &component.runtime, &mut findings);
    findings.extend(runtime(&component.runtime, reference.allow_jit));
    findings
}

fn executable(reference: &ReferenceValues, component: &Component, findings: &mut Vec<Finding>) {
    let MeasuredFile { path, sha256, .. } = &component.executable;
    let approved = reference.executables.get(path);
    if approved.is_some_and(|digests| digests.contains(sha256)) {
        return;
    }
    // A program under another path is shown beside the approved one, so that a copy is seen to be one.
    let expected = approved.map(one_of).or_else(|| {
        let (path, digests) = reference.executables.first_key_value()?;
        Some(format!("{path} {}", one_of(digests)))
    });
    findings.push(Finding::new(
        ReasonCode::ExecutableUnknown,
        "executable",
        path,
        expected,
        Some(sha256.to_string()),
    ));
}

fn libraries(
    reference: &ReferenceValues,
    sets: &LibrarySets,
    component: &Component,
    findings: &mut Vec<Finding>,
) {
    for mapping in &component.mappings {
        let is_executable =
            mapping.path == component.executable.path && mapping.sha256 == component.executable.sha256;
        if is_executable || is_permitted_library(reference, sets, mapping) {
            continue;
        }
        let (code, expected) = match reference.libraries.get(&mapping.path) {
            Some(own) => {
                let shared = sets.digests(&reference.library_sets, &mapping.path);
                let approved: BTreeSet<Digest> = own.iter().copied().chain(shared).collect();
                (ReasonCode::LibraryChanged, Some(one_of(&approved)))
            }
            None => (ReasonCode::LibraryUnknown, None),
        };
        let measured = Some(mapping.sha256.to_string());
        findings.push(Finding::new(code, "library", &mapping.path, expected, measured));
    }
}

/// Whether the component may map this file: its path is listed, and the digest stands there or in a set.
pub fn is_permitted_library(reference: &ReferenceValues, sets: &LibrarySets, mapping: &MeasuredFile) -> bool {
    reference.libraries.get(&mapping.path).is_some_and(|own| {
        own.contains(&mapping.sha256)
            || sets.digests(&reference.library_sets, &mapping.path).any(|digest| digest == mapping.sha256)
    })
}

/// Reason codes for a file that is not in the reference, is changed, or is not measured.
struct FileCodes {
    added: ReasonCode,
    changed: ReasonCode,
    missing: ReasonCode,
}

const SCRIPT_CODES: FileCodes = FileCodes {
    added: ReasonCode::ScriptUnknown,
    changed: ReasonCode::ScriptUnknown,
    missing: ReasonCode::ScriptUnknown,
};

const CONFIGURATION_CODES: FileCodes = FileCodes {
    added: ReasonCode::ConfigurationUnknown,
    changed: ReasonCode::ConfigurationChanged,
    missing: ReasonCode::ConfigurationNotMeasured,
};

/// All of the reference must be measured, and nothing else.
fn exact_files(
    part: &str,
    codes: FileCodes,
    reference: &BTreeMap<String, BTreeSet<Digest>>,
    measured: &[MeasuredFile],
    findings: &mut Vec<Finding>,
) {
    for file in measured {
        let approved = reference.get(&file.path);
        if approved.is_some_and(|digests| digests.contains(&file.sha256)) {
            continue;
        }
        let code = if approved.is_some() { codes.changed } else { codes.added };
        let digest = Some(file.sha256.to_string());
        findings.push(Finding::new(code, part, &file.path, approved.map(one_of), digest));
    }
    for (path, digests) in reference {
        if !measured.iter().any(|file| &file.path == path) {
            findings.push(Finding::new(codes.missing, part, path, Some(one_of(digests)), None));
        }
    }
}

fn principal(rule: &PrincipalRule, measured: &Principal, findings: &mut Vec<Finding>) {
    let PrincipalRule::Exact(approved) = rule else { return };
    let mut compare = |item: &str, approved: String, measured: String| {
        if approved != measured {
            let code = ReasonCode::PrincipalMismatch;
            findings.push(Finding::new(code, "principal", item, Some(approved), Some(measured)));
        }
    };
    let unit = |principal: &Principal| principal.unit.clone().unwrap_or_else(|| "none".to_owned());
    let namespace = |initial: bool| if initial { "initial" } else { "other" }.to_owned();
    compare("uid", approved.uid.to_string(), measured.uid.to_string());
    compare("gid", approved.gid.to_string(), measured.gid.to_string());
    // A unit may not be called `none`: systemd's names of services end in `.service`.
    compare("unit", unit(approved), unit(measured));
    compare(
        "user namespace",
        namespace(approved.initial_user_namespace),
        namespace(measured.initial_user_namespace),
    );
    compare(
        "pid namespace",
        namespace(approved.initial_pid_namespace),
        namespace(measured.initial_pid_namespace),
    );
}

fn argv(rule: &ArgvRule, measured: &[String], findings: &mut Vec<Finding>) {
    let differing: Vec<(usize, Option<&String>)> = match rule {
        ArgvRule::Any => Vec::new(),
        ArgvRule::Exact(approved) => (0..approved.len().max(measured.len()))
            .filter(|position| approved.get(*position) != measured.get(*position))
            .map(|position| (position, approved.get(position)))
            .collect(),
        ArgvRule::Patterns(patterns) => argument_pattern::mismatches(patterns, measured),
    };
    for (position, approved) in differing {
        findings.push(Finding::new(
            ReasonCode::ArgvMismatch,
            "argv",
            position.to_string(),
            approved.cloned(),
            measured.get(position).cloned(),
        ));
    }
}

fn environment(
    reference: &BTreeMap<String, BTreeSet<String>>,
    measured: &BTreeMap<String, String>,
    findings: &mut Vec<Finding>,
) {
    for (variable, value) in measured {
        let approved = reference.get(variable);
        if approved.is_some_and(|values| values.contains(value)) {
            continue;
        }
        findings.push(Finding::new(
            ReasonCode::EnvironmentMismatch,
            "environment",
            variable,
            approved.map(one_of),
            Some(value.clone()),
        ));
    }
    // Leaving out a variable that makes loading stricter is as much a change as setting one that loosens it.
    for (variable, values) in reference {
        if !measured.contains_key(variable) {
            findings.push(Finding::new(
                ReasonCode::EnvironmentMismatch,
                "environment",
                variable,
                Some(one_of(values)),
                None,
            ));
        }
    }
}

fn attester(rule: &AttesterRule, measured: &AttesterClaims, findings: &mut Vec<Finding>) {
    for (item, approved, file) in [
        ("shim", &rule.shim, &measured.shim),
        ("real module", &rule.real_module, &measured.real_module),
        ("configuration", &rule.configuration, &measured.configuration),
    ] {
        if !approved.contains(&file.sha256) {
            findings.push(Finding::new(
                ReasonCode::AttesterUnknown,
                "attester",
                format!("{item} {}", file.path),
                Some(one_of(approved)),
                Some(file.sha256.to_string()),
            ));
        }
    }
}

/// More filters than approved may answer system calls with what was never measured; fewer, or rights that can be regained,
/// are not the conditions under which somebody found the program safe.
fn sandbox(rule: &SandboxRule, measured: &Runtime, findings: &mut Vec<Finding>) {
    let mut compare = |item: &str, approved: String, measured: String| {
        if approved != measured {
            let code = ReasonCode::SandboxMismatch;
            findings.push(Finding::new(code, "sandbox", item, Some(approved), Some(measured)));
        }
    };
    let mode = |mode: u8| match mode {
        0 => "off".to_owned(),
        1 => "strict".to_owned(),
        2 => "filter".to_owned(),
        other => other.to_string(),
    };
    let yes = |is_set: bool| if is_set { "set" } else { "not set" }.to_owned();
    compare("seccomp mode", mode(rule.seccomp), mode(measured.seccomp));
    compare("seccomp filters", rule.seccomp_filters.to_string(), measured.seccomp_filters.to_string());
    if let Some(approved) = rule.no_new_privs {
        compare("no_new_privs", yes(approved), yes(measured.no_new_privs));
    }
}

/// The state of the process that no reference value approves; `allow_jit` permits code generated at run
/// time, and nothing that hides or replaces a file.
pub fn runtime(runtime: &Runtime, allow_jit: bool) -> Vec<Finding> {
    let count = |count: u32| u64::from(count);
    let mut findings = Vec::new();
    let mut refuse = |code, item: &str, found: u64, permitted: bool| {
        if found > 0 && !permitted {
            let none = Some("0".to_owned());
            findings.push(Finding::new(code, "runtime", item, none, Some(found.to_string())));
        }
    };
    refuse(ReasonCode::Traced, "tracer", u64::from(runtime.traced), false);
    refuse(
        ReasonCode::CodeAnonymous,
        "anonymous executable mappings",
        count(runtime.anonymous_executable),
        allow_jit,
    );
    refuse(
        ReasonCode::CodeDeleted,
        "executable mappings of deleted files",
        count(runtime.deleted_executable),
        false,
    );
    refuse(
        ReasonCode::CodeMemfd,
        "executable mappings of memory files",
        count(runtime.memfd_executable),
        false,
    );
    refuse(
        ReasonCode::CodeWritable,
        "writable executable mappings",
        count(runtime.writable_executable),
        allow_jit,
    );
    refuse(ReasonCode::TextModified, "modified pages of code", runtime.modified_text_pages, false);
    findings
}

/// One approved value to show, and how many more there are.
fn one_of<T: Ord + ToString>(values: &BTreeSet<T>) -> String {
    match (values.first(), values.len()) {
        (None, _) => "nothing".to_owned(),
        (Some(value), 1) => value.to_string(),
        (Some(value), more) => format!("{} or {} other approved", value.to_string(), more - 1),
    }
}
