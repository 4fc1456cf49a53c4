//! Named library sets: digests by path that several components share, so that an update of a library touches one set.

use serde::{Deserialize, Serialize};

use crate::decision::DecisionId;
use crate::digest::Digest;

/// One line of `GET /v1/sets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetSummary {
    /// Such as `debian-12`.
    pub name: String,
    /// The newest addition's number; 0 where nothing was added.
    pub newest: u64,
    /// Files of additions before this one count no more.
    pub floor: u64,
    /// Files that count.
    pub current: u64,
    /// Files that are retired or below the floor.
    pub past: u64,
}

/// `GET /v1/sets/{set}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRecord {
    /// The line of the list.
    pub summary: SetSummary,
    /// By path, then by addition.
    pub files: Vec<SetFile>,
}

/// One file of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetFile {
    /// Where it is mapped from, escaped.
    pub path: String,
    /// Of its content.
    pub sha256: Digest,
    /// The number of the addition that brought it, or brought it again: 1 for a set's first.
    pub since: u64,
    /// Seconds since 1970.
    pub added_at: u64,
    /// Seconds since 1970, once it was retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<u64>,
}

/// `POST /v1/sets`. Answered with [`SetRecord`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateSetRequest {
    /// Must be new.
    pub name: String,
}

/// `POST /v1/sets/{set}/files`: one addition. Answered with [`SetRecord`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum AddFilesRequest {
    /// The libraries that were measured for this decision.
    Decision(DecisionId),
    /// These: path, escaped, and digest.
    Files(Vec<(String, Digest)>),
}

/// `POST /v1/sets/{set}/floor`. Answered with [`SetRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetFloorRequest {
    /// The oldest addition that still counts.
    pub since: u64,
}
