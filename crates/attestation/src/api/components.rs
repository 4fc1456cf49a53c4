//! Components and their versions as operators see them, and what takes approvals back.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::reference::ReferenceValues;

/// A component's version by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionName {
    /// Component.
    pub component: String,
    /// Version.
    pub version: String,
}

/// One version of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionRecord {
    /// Its name.
    pub version: String,
    /// Seconds since 1970; versions are ordered by approval.
    pub approved_at: u64,
    /// Seconds since 1970, once it was retired.
    pub retired_at: Option<u64>,
    /// It was approved before the component's floor and counts no more.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub below_floor: bool,
    /// A general tool signs what it is told: any arguments are approved.
    pub general_tool: bool,
    /// The reference values.
    pub reference: ReferenceValues,
}

/// `GET /v1/components/{component}`; `GET /v1/components` answers with a list of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentRecord {
    /// Its name.
    pub name: String,
    /// What becomes of evidence that differs.
    #[serde(default)]
    pub mode: ComponentMode,
    /// Versions approved before this one count no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<String>,
    /// In order of approval.
    pub versions: Vec<VersionRecord>,
}

/// What becomes of evidence that differs from every version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComponentMode {
    /// It is refused.
    #[default]
    Enforce,
    /// Where the executable's path is one of the component's, it is allowed, and what differs is recorded.
    Observe,
}

impl ComponentMode {
    /// The name on the wire and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// `POST /v1/components/{component}/floor`. Answered with [`ComponentRecord`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FloorRequest {
    /// The oldest version that still counts.
    pub version: String,
}

/// A digest that counts nowhere any more: `GET /v1/retired-files` answers with a list of these,
/// `POST /v1/retired-files/{digest}` adds one, `DELETE` takes it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetiredFile {
    /// Of the file's content.
    pub sha256: Digest,
    /// Seconds since 1970.
    pub retired_at: u64,
    /// The operator.
    pub retired_by: String,
}
