//! Which approved version a measurement is, if any.

use attestation::component::Component;
use attestation::decision::Reason;
use attestation::evidence::{EvidenceClaims, EvidenceSubmods};

use super::differences::{Finding, differences, runtime};
use super::forbidden::forbidden_kind;
use super::nearest::nearest;
use super::observing::observe;
use super::policy::{ApprovedVersion, Policy, Standing};
use super::reason::ReasonCode;
use super::{MAX_REASONS, Refused};

/// A version that the measurement counts as.
pub(super) struct Recognised<'a> {
    pub version: &'a ApprovedVersion,
    /// What differs from it, where its component is observed; otherwise empty.
    pub observed: Vec<Reason>,
}

/// The newest version that counts and that the measurement matches wholly, or the one as which it counts where its
/// component is observed.
pub(super) fn recognise<'a>(policy: &'a Policy, claims: &EvidenceClaims) -> Result<Recognised<'a>, Refused> {
    if let Some(reason) = forbidden(&claims.submods.component) {
        return Err(Refused::because(reason));
    }
    let retired = retired_files(policy, claims);
    if !retired.is_empty() {
        return Err(Refused { reasons: retired, recognised: None });
    }
    let matches =
        |version: &&ApprovedVersion| differences(&version.reference, &policy.sets, claims).is_empty();
    let current = |version: &&ApprovedVersion| version.standing == Standing::Current;
    if let Some(version) = policy.versions.iter().rev().filter(current).find(matches) {
        return Ok(Recognised { version, observed: Vec::new() });
    }
    if let Some(version) = policy.versions.iter().rev().find(matches) {
        let reason = no_longer_counts(version, "it is");
        return Err(Refused { reasons: vec![reason], recognised: Some(version.name.clone()) });
    }
    match observe(policy, claims) {
        Some(observed) => {
            observed.map(|(version, findings)| Recognised { version, observed: reasons(&findings) })
        }
        None => Err(Refused { reasons: reasons_of_mismatch(policy, claims), recognised: None }),
    }
}

/// The reason to refuse what stands in the relation `how` to a version that was taken back.
pub(super) fn no_longer_counts(version: &ApprovedVersion, how: &str) -> Reason {
    let name = &version.name;
    let (code, what) = match version.standing {
        Standing::BelowFloor => (ReasonCode::VersionBelowFloor, "is older than its component's floor"),
        Standing::Current | Standing::Retired => (ReasonCode::VersionRetired, "was retired"),
    };
    code.because(format!("{how} {} {}, which {what}", name.component, name.version))
}

/// One reason for each measured file, the measurer's own included, whose content was retired.
pub fn retired_files(policy: &Policy, claims: &EvidenceClaims) -> Vec<Reason> {
    let EvidenceSubmods { attester, component, .. } = &claims.submods;
    let mut files: Vec<_> = [&component.executable]
        .into_iter()
        .chain(&component.mappings)
        .chain(&component.scripts)
        .chain(&component.configuration)
        .chain([&attester.shim, &attester.real_module, &attester.configuration])
        .filter(|file| policy.retired_files.contains(&file.sha256))
        .collect();
    files.sort();
    files.dedup();
    let reason = |file: &attestation::component::MeasuredFile| {
        ReasonCode::FileRetired
            .because(format!("{} has the content {}, which was retired", file.path, file.sha256))
    };
    files.into_iter().take(MAX_REASONS).map(reason).collect()
}

/// The reason to refuse a program that can never be a component.
fn forbidden(component: &Component) -> Option<Reason> {
    let path = &component.executable.path;
    let kind = forbidden_kind(path)?;
    Some(
        ReasonCode::ComponentForbidden.because(format!("{path} is a {kind}, which runs whatever it is told")),
    )
}

fn reasons_of_mismatch(policy: &Policy, claims: &EvidenceClaims) -> Vec<Reason> {
    match nearest(policy, claims) {
        Some(nearest) => reasons(&nearest.findings),
        None => {
            let component = &claims.submods.component;
            let executable = &component.executable;
            let unknown = ReasonCode::ExecutableUnknown
                .because(format!("{} {} is not approved", executable.path, executable.sha256));
            let runtime = runtime(&component.runtime, false);
            core::iter::once(unknown).chain(runtime.iter().map(Finding::reason)).collect()
        }
    }
}

/// The findings as reasons, in a bounded number.
pub(super) fn reasons(findings: &[Finding]) -> Vec<Reason> {
    let mut reasons: Vec<_> = findings.iter().map(Finding::reason).collect();
    // The state of the process comes last in the comparison but must not be cut off by a long list of files.
    if reasons.len() > MAX_REASONS {
        let mut seen = Vec::new();
        let (first, repeated): (Vec<_>, Vec<_>) = reasons.into_iter().partition(|reason| {
            let new = !seen.contains(&reason.code);
            seen.push(reason.code.clone());
            new
        });
        reasons = first.into_iter().chain(repeated).take(MAX_REASONS).collect();
    }
    reasons
}
