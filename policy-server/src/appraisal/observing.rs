//! What observing lets pass: a process that differs from every version of a component that is observed, and still is that
//! component's by its user, its state, and everything that was taken back.

use std::collections::{BTreeMap, BTreeSet};

use attestation::component::{Component, MeasuredFile, Principal};
use attestation::decision::Reason;
use attestation::digest::Digest;
use attestation::evidence::EvidenceClaims;
use attestation::reference::{PrincipalRule, ReferenceValues};

use super::differences::{Finding, differences};
use super::policy::{ApprovedVersion, Policy, Standing};
use super::reason::ReasonCode;
use super::recognition::{no_longer_counts, reasons};
use super::{MAX_REASONS, Refused};

type Compared<'a> = (&'a ApprovedVersion, Vec<Finding>);

/// The version as which a process of an observed component counts, with what differs from it; nothing where no observed
/// component has an executable of this path.
///
/// # Errors
/// [`Refused`], where it resembles what was taken back, or differs in what observing never lets pass.
pub(super) fn observe<'a>(
    policy: &'a Policy,
    claims: &EvidenceClaims,
) -> Option<Result<Compared<'a>, Refused>> {
    let component = &claims.submods.component;
    let here =
        |version: &ApprovedVersion| version.reference.executables.contains_key(&component.executable.path);
    let candidates: BTreeSet<&String> = policy
        .versions
        .iter()
        .filter(|version| policy.observed.contains(&version.name.component) && here(version))
        .map(|version| &version.name.component)
        .collect();
    let mut compared: Vec<Compared<'_>> = policy
        .versions
        .iter()
        .filter(|version| candidates.contains(&version.name.component))
        .map(|version| (version, differences(&version.reference, &policy.sets, claims)))
        .collect();
    // Between equals the older one, which has the fewer grants. Where that leaves what was taken back as near as what
    // counts, `taken_back` looks at the files.
    compared.sort_by_key(|(version, findings)| (findings.len(), version.standing != Standing::Current));
    let (nearest, _) = compared.first()?;
    if nearest.standing != Standing::Current {
        let reason = no_longer_counts(nearest, "it is nearest to");
        return Some(Err(Refused { reasons: vec![reason], recognised: Some(nearest.name.clone()) }));
    }
    let current =
        compared.into_iter().filter(|(version, _)| version.standing == Standing::Current && here(version));
    let (passing, others): (Vec<_>, Vec<_>) =
        current.partition(|(version, findings)| never(&version.reference, component, findings).is_none());
    let executable = |(version, _): &Compared<'_>| has_executable(version, component);
    let same = passing.iter().position(executable);
    let Some((version, findings)) = passing.into_iter().nth(same.unwrap_or_default()) else {
        let (version, findings) = others.into_iter().next()?;
        let why = never(&version.reference, component, &findings).flatten();
        let mut all = reasons(&findings);
        all.truncate(MAX_REASONS - 1);
        all.extend(why);
        return Some(Err(Refused { reasons: all, recognised: None }));
    };
    let taken_back = taken_back(policy, version, claims);
    Some(match taken_back.is_empty() {
        true => Ok((version, findings)),
        false => Err(Refused { reasons: taken_back, recognised: None }),
    })
}

fn has_executable(version: &ApprovedVersion, component: &Component) -> bool {
    let MeasuredFile { path, sha256, .. } = &component.executable;
    version.reference.executables.get(path).is_some_and(|digests| digests.contains(sha256))
}

/// Whether a process must be refused for one of `findings` although its component is observed, and why where the finding
/// does not say so by itself.
///
/// Another program or library is code that nobody has approved. It passes on behalf of the approved user only, and as
/// such counts nobody in a user namespace of its own: there anybody is whatever user he likes, and what is mounted at a
/// path is his choice.
fn never(reference: &ReferenceValues, component: &Component, findings: &[Finding]) -> Option<Option<Reason>> {
    if findings.iter().any(|finding| finding.code.is_never_observed()) {
        return Some(None);
    }
    match &reference.principal {
        PrincipalRule::Exact(Principal { initial_user_namespace: true, .. }) => None,
        PrincipalRule::Exact(_) | PrincipalRule::Any => {
            let Principal { uid, initial_user_namespace, .. } = component.principal;
            let whose = if initial_user_namespace { "" } else { " in a user namespace of its own" };
            Some(Some(ReasonCode::PrincipalMismatch.because(format!(
                "observing lets nothing pass where any user or another user namespace is approved; this is uid {uid}{whose}"
            ))))
        }
    }
}

/// Every reason to refuse that lies in what was taken back from the component of `version`: its measured executable, a
/// file that only versions have which count no more, and a digest that its library sets had.
fn taken_back(policy: &Policy, version: &ApprovedVersion, claims: &EvidenceClaims) -> Vec<Reason> {
    let component = &claims.submods.component;
    let known_here = has_executable(version, component);
    let of_component = |other: &&ApprovedVersion| other.name.component == version.name.component;
    let past = || policy.versions.iter().filter(|other| other.standing != Standing::Current);
    let executable = past()
        .filter(|other| of_component(other) || !known_here)
        .find(|other| contains(&other.reference.executables, &component.executable))
        .map(|other| no_longer_counts(other, "its executable is that of"));
    let current =
        || policy.versions.iter().filter(of_component).filter(|other| other.standing == Standing::Current);
    let counts = |file: &MeasuredFile| {
        current().any(|other| {
            has_file(&other.reference, file)
                || policy
                    .sets
                    .digests(&other.reference.library_sets, &file.path)
                    .any(|digest| digest == file.sha256)
        })
    };
    let files = component.mappings.iter().chain(&component.scripts).chain(&component.configuration);
    let files =
        files.filter(|file| file.sha256 != component.executable.sha256 && !counts(file)).filter_map(|file| {
            let MeasuredFile { path, sha256, .. } = file;
            if let Some(other) = past().filter(of_component).find(|other| has_file(&other.reference, file)) {
                return Some(no_longer_counts(other, &format!("{path} has the content {sha256} as in")));
            }
            let mut names = current().flat_map(|other| &other.reference.library_sets);
            let name = names.find(|name| policy.past_set_files.contains(name, sha256))?;
            Some(ReasonCode::FileRetired.because(format!(
                "{path} has the content {sha256}, which counts no more in the library set {name}"
            )))
        });
    executable.into_iter().chain(files).take(MAX_REASONS).collect()
}

/// Whether a version has this content by itself, under whatever path.
fn has_file(reference: &ReferenceValues, file: &MeasuredFile) -> bool {
    let ReferenceValues { executables, libraries, scripts, configuration, .. } = reference;
    [executables, libraries, scripts, configuration].into_iter().any(|files| contains(files, file))
}

fn contains(files: &BTreeMap<String, BTreeSet<Digest>>, file: &MeasuredFile) -> bool {
    files.values().any(|digests| digests.contains(&file.sha256))
}
