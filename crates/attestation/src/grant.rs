//! Grants: which component may do what with which key.

use core::fmt;

use serde::{Deserialize, Serialize};

/// What may be granted on a key; the gate's classes (docs/ARCHITECTURE.md, "The gate").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Operation {
    Administer,
    Decapsulate,
    Decrypt,
    Derive,
    Destroy,
    Encapsulate,
    Encrypt,
    /// Having the key's value wrapped by another key.
    Extract,
    Generate,
    Import,
    Modify,
    Reveal,
    Sign,
    Unwrap,
    Verify,
    Wrap,
}

impl Operation {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 16] = [
        Self::Administer,
        Self::Decapsulate,
        Self::Decrypt,
        Self::Derive,
        Self::Destroy,
        Self::Encapsulate,
        Self::Encrypt,
        Self::Extract,
        Self::Generate,
        Self::Import,
        Self::Modify,
        Self::Reveal,
        Self::Sign,
        Self::Unwrap,
        Self::Verify,
        Self::Wrap,
    ];

    /// The name on the wire and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Administer => "administer",
            Self::Decapsulate => "decapsulate",
            Self::Decrypt => "decrypt",
            Self::Derive => "derive",
            Self::Destroy => "destroy",
            Self::Encapsulate => "encapsulate",
            Self::Encrypt => "encrypt",
            Self::Extract => "extract",
            Self::Generate => "generate",
            Self::Import => "import",
            Self::Modify => "modify",
            Self::Reveal => "reveal",
            Self::Sign => "sign",
            Self::Unwrap => "unwrap",
            Self::Verify => "verify",
            Self::Wrap => "wrap",
        }
    }

    /// Whether a call that takes this operation can give an object its name.
    pub const fn can_name(self) -> bool {
        match self {
            Self::Decapsulate
            | Self::Derive
            | Self::Encapsulate
            | Self::Generate
            | Self::Import
            | Self::Modify
            | Self::Unwrap => true,
            Self::Administer
            | Self::Decrypt
            | Self::Destroy
            | Self::Encrypt
            | Self::Extract
            | Self::Reveal
            | Self::Sign
            | Self::Verify
            | Self::Wrap => false,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A grant as it stands in a trust token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Names the grant in records, such as `G-12`; the same in every token that carries it.
    pub id: String,
    /// The key, as an RFC 7512 URI.
    pub key: String,
    /// What may be done with it.
    pub operations: Vec<Operation>,
    /// The URI is meant to name many keys: names that it states in part may be given, whatever the rest.
    #[serde(default, skip_serializing_if = "is_false")]
    pub many: bool,
    /// `CKM_` numbers, not empty; where absent, every mechanism that the gate knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanisms: Option<Vec<u64>>,
    /// How often; where absent, without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// `CLOCK_BOOTTIME` of the host in milliseconds from which on the grant counts no more; where absent, it ends with
    /// the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_boottime_ms: Option<u64>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's way to call it
fn is_false(value: &bool) -> bool {
    !*value
}

/// How often a grant may be used: completed operations, and those whose failure tells something of what was handed in,
/// counted by the gate. At least one of the two is stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Operations that may begin within any one second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
    /// Operations altogether, for as long as the gate lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

impl Rate {
    /// Whether it limits anything.
    pub const fn is_stated(&self) -> bool {
        self.per_second.is_some() || self.total.is_some()
    }
}
