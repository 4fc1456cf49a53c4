//! The policy as the appraisal sees it: reference values by version, and grants.

use attestation::api::VersionName;
use attestation::grant::Operation;
use attestation::reference::ReferenceValues;
use attestation::token::Mode;

/// Everything that is approved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// In order of approval, oldest first; retired versions included.
    pub versions: Vec<ApprovedVersion>,
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
    /// Whether it was retired.
    pub retired: bool,
    /// What it must measure.
    pub reference: ReferenceValues,
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentGrant {
    /// Its name, such as `G-12`.
    pub id: String,
    /// To whom.
    pub component: String,
    /// The key's RFC 7512 URI.
    pub key: String,
    /// What may be done.
    pub operations: Vec<Operation>,
    /// Only in this mode, where given.
    pub mode: Option<Mode>,
}
