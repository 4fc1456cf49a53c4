//! Finds the approved version that a measurement is nearest to, for reasons and explanations.

use attestation::api::VersionName;
use attestation::evidence::EvidenceClaims;
use attestation::reference::ReferenceValues;

use super::differences::{Finding, differences, is_permitted_library};
use super::policy::{LibrarySets, Policy, Standing};

/// The approved version with the fewest differences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// Which one.
    pub name: VersionName,
    /// What differs from it.
    pub findings: Vec<Finding>,
}

/// Looks among the versions that count and have something in common with the measurement.
/// Between equals the newest approval wins.
pub fn nearest(policy: &Policy, claims: &EvidenceClaims) -> Option<Nearest> {
    policy
        .versions
        .iter()
        .rev()
        .filter(|version| version.standing == Standing::Current)
        .filter(|version| resembles(&version.reference, &policy.sets, claims))
        .map(|version| Nearest {
            name: version.name.clone(),
            findings: differences(&version.reference, &policy.sets, claims),
        })
        .min_by_key(|nearest| nearest.findings.len())
}

/// Whether the measured program could be taken for this version: same path, same content, same file name, or
/// the same libraries.
fn resembles(reference: &ReferenceValues, sets: &LibrarySets, claims: &EvidenceClaims) -> bool {
    let component = &claims.submods.component;
    let executable = &component.executable;
    let libraries = || component.mappings.iter().filter(|mapping| mapping.path != executable.path);
    reference.executables.iter().any(|(path, digests)| {
        path == &executable.path
            || digests.contains(&executable.sha256)
            || file_name(path) == file_name(&executable.path)
    }) || libraries().next().is_some()
        && libraries().all(|mapping| is_permitted_library(reference, sets, mapping))
}

/// The last element of a path.
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
