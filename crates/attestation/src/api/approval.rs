//! How software comes to be approved: from a decision, or from a manifest.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{GrantRecord, GrantTerms, VersionName};
use crate::digest::Digest;
use crate::reference::ReferenceValues;

/// The `format` of [`Manifest`].
pub const MANIFEST_FORMAT: &str = "tag:trustshim.org,2026:manifest#1";

/// `POST /v1/decisions/{id}/approve`: make what was measured the reference values of a version.
/// Answered with [`ApproveResponse`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// The measurement digest that the approver has seen; must be the decision's.
    pub measurement: Digest,
    /// Created where new.
    pub component: String,
    /// Created where new; otherwise the measured values are added to it.
    pub version: String,
    /// `--any-arguments`.
    #[serde(default)]
    pub any_arguments: bool,
    /// `--any-user`.
    #[serde(default)]
    pub any_user: bool,
    /// `--allow-jit`.
    #[serde(default)]
    pub allow_jit: bool,
    /// Patterns for single arguments, by position (`--argument N=PATTERN`); the others stay as measured.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<usize, String>,
    /// Any number of further arguments, each of this pattern, takes the place of those from the position on
    /// (`--more-arguments N=PATTERN`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_arguments: Option<(usize, String)>,
    /// Further values that count for variables which were set when measured (`--environment NAME=VALUE`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, BTreeSet<String>>,
    /// Sets that supply the digests of those measured libraries which they know (`--library-set`).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub library_sets: BTreeSet<String>,
    /// Added in the same transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantTerms>,
}

impl ApproveRequest {
    /// Approves exactly what was measured, and grants nothing.
    pub fn exactly(measurement: Digest, name: VersionName) -> Self {
        Self {
            measurement,
            component: name.component,
            version: name.version,
            any_arguments: false,
            any_user: false,
            allow_jit: false,
            arguments: BTreeMap::new(),
            more_arguments: None,
            environment: BTreeMap::new(),
            library_sets: BTreeSet::new(),
            grant: None,
        }
    }
}

/// What an approval did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveResponse {
    /// The version that now holds the values.
    pub approved: VersionName,
    /// Whether the component, and whether the version, is new.
    pub new_component: bool,
    #[allow(missing_docs)]
    pub new_version: bool,
    /// The grant, where one was added.
    pub grant: Option<GrantRecord>,
}

/// A file with the reference values of one version, as `trustshim measure` and `component export` write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: String,
    /// The name under which it was exported; absent where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<VersionName>,
    /// The values.
    pub reference: ReferenceValues,
}

/// `POST /v1/components/{component}/versions`: a new version from a manifest. Answered with
/// [`super::ComponentRecord`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// Must be new.
    pub version: String,
    /// Its values.
    pub reference: ReferenceValues,
}
