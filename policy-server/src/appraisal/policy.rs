//! The policy as the appraisal sees it: reference values by version, library sets, what was taken back, and grants.

use std::collections::{BTreeMap, BTreeSet};

use attestation::api::{GrantTerms, VersionName};
use attestation::digest::Digest;
use attestation::reference::ReferenceValues;

/// Everything that is approved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// In order of approval, oldest first; those that count no more are included.
    pub versions: Vec<ApprovedVersion>,
    /// The library sets.
    pub sets: LibrarySets,
    /// What the sets have had and do not count any more.
    pub past_set_files: PastSetFiles,
    /// Digests that count nowhere any more.
    pub retired_files: BTreeSet<Digest>,
    /// Components whose deviations are recorded and allowed.
    pub observed: BTreeSet<String>,
    /// All grants.
    pub grants: Vec<ComponentGrant>,
    /// The revocation epoch.
    pub epoch: u64,
}

/// One version of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovedVersion {
    /// Its name.
    pub name: VersionName,
    /// Whether it counts.
    pub standing: Standing,
    /// What it must measure.
    pub reference: ReferenceValues,
}

/// Whether a version counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was approved before its component's floor.
    BelowFloor,
    /// It counts.
    Current,
    /// It was retired.
    Retired,
}

/// The digests that count by set and path: not retired, and not below the set's floor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibrarySets(pub BTreeMap<String, BTreeMap<String, BTreeSet<Digest>>>);

impl LibrarySets {
    /// What counts for `path` in the sets of these names.
    pub fn digests<'a>(
        &'a self,
        names: &'a BTreeSet<String>,
        path: &'a str,
    ) -> impl Iterator<Item = Digest> + 'a {
        names.iter().filter_map(|name| self.0.get(name)?.get(path)).flatten().copied()
    }
}

/// The digests by set that were retired in it or are below its floor, and count under no path of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastSetFiles(pub BTreeMap<String, BTreeSet<Digest>>);

impl PastSetFiles {
    /// Whether this set has had this digest.
    pub fn contains(&self, set: &str, digest: &Digest) -> bool {
        self.0.get(set).is_some_and(|digests| digests.contains(digest))
    }
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentGrant {
    /// Its name, such as `G-12`.
    pub id: String,
    /// To whom.
    pub component: String,
    /// For which keys, for what, and within which limits.
    pub terms: GrantTerms,
}
