//! Grants as operators give, see and remove them.

use serde::{Deserialize, Serialize};

use crate::grant::{Operation, Rate};
use crate::token::Mode;

/// Which key, for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantTerms {
    /// RFC 7512 URI.
    pub key: String,
    /// Not empty.
    pub operations: Vec<Operation>,
    /// The URI may match more than one key, and keys may be given any name that it leaves open (`--many`).
    #[serde(default)]
    pub many: bool,
    /// Only in this mode, where given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// `CKM_` numbers; empty for every mechanism that the gate knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mechanisms: Vec<u64>,
    /// How often, of each process in inline mode and of each host in guarded mode; where absent, without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Seconds since 1970 from which on the grant counts no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Only for versions of the component that were approved with this one or after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_version: Option<String>,
}

impl GrantTerms {
    /// Terms without limits.
    pub fn new(key: String, operations: Vec<Operation>) -> Self {
        Self {
            key,
            operations,
            many: false,
            mode: None,
            mechanisms: Vec::new(),
            rate: None,
            expires_at: None,
            min_version: None,
        }
    }
}

/// `POST /v1/grants`. Answered with [`GrantRecord`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// Must exist.
    pub component: String,
    /// What it may do.
    pub terms: GrantTerms,
}

/// One grant: `GET /v1/grants` answers with a list of these; `DELETE /v1/grants/{id}` removes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRecord {
    /// Such as `G-12`.
    pub id: String,
    /// To whom.
    pub component: String,
    /// What.
    pub terms: GrantTerms,
    /// Seconds since 1970.
    pub granted_at: u64,
}
