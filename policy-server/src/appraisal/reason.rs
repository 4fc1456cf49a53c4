//! The closed list of reasons for which the verifier refuses evidence.

use core::fmt;

use attestation::decision::Reason;

use crate::text;

/// Longest detail of one reason, in characters.
const MAX_DETAIL: usize = 400;

/// Why evidence was refused; the wire form is the name in kebab case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ReasonCode {
    ArgvMismatch,
    AttesterUnknown,
    CodeAnonymous,
    CodeDeleted,
    CodeMemfd,
    CodeWritable,
    ComponentForbidden,
    ConfigurationChanged,
    ConfigurationNotMeasured,
    ConfigurationUnknown,
    EnvironmentMismatch,
    EvidenceMalformed,
    ExecutableUnknown,
    FileRetired,
    HsmKeyUnsafe,
    HsmMismatch,
    KeyPending,
    KeySuspended,
    KeyUnknown,
    LibraryChanged,
    LibraryUnknown,
    NoGrant,
    NonceExpired,
    NonceUnknown,
    NonceUsed,
    PrincipalMismatch,
    SandboxMismatch,
    ScriptUnknown,
    SignatureInvalid,
    TextModified,
    Traced,
    VersionBelowFloor,
    VersionRetired,
}

impl ReasonCode {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ArgvMismatch => "argv-mismatch",
            Self::AttesterUnknown => "attester-unknown",
            Self::CodeAnonymous => "code-anonymous",
            Self::CodeDeleted => "code-deleted",
            Self::CodeMemfd => "code-memfd",
            Self::CodeWritable => "code-writable",
            Self::ComponentForbidden => "component-forbidden",
            Self::ConfigurationChanged => "configuration-changed",
            Self::ConfigurationNotMeasured => "configuration-not-measured",
            Self::ConfigurationUnknown => "configuration-unknown",
            Self::EnvironmentMismatch => "environment-mismatch",
            Self::EvidenceMalformed => "evidence-malformed",
            Self::ExecutableUnknown => "executable-unknown",
            Self::FileRetired => "file-retired",
            Self::HsmKeyUnsafe => "hsm-key-unsafe",
            Self::HsmMismatch => "hsm-mismatch",
            Self::KeyPending => "key-pending",
            Self::KeySuspended => "key-suspended",
            Self::KeyUnknown => "key-unknown",
            Self::LibraryChanged => "library-changed",
            Self::LibraryUnknown => "library-unknown",
            Self::NoGrant => "no-grant",
            Self::NonceExpired => "nonce-expired",
            Self::NonceUnknown => "nonce-unknown",
            Self::NonceUsed => "nonce-used",
            Self::PrincipalMismatch => "principal-mismatch",
            Self::SandboxMismatch => "sandbox-mismatch",
            Self::ScriptUnknown => "script-unknown",
            Self::SignatureInvalid => "signature-invalid",
            Self::TextModified => "text-modified",
            Self::Traced => "traced",
            Self::VersionBelowFloor => "version-below-floor",
            Self::VersionRetired => "version-retired",
        }
    }

    /// Whether the reason lies in the measured program, which an approver may judge, rather than in the
    /// evidence itself, which nobody may wave through.
    pub fn is_about_component(name: &str) -> bool {
        ![
            Self::EvidenceMalformed,
            Self::HsmKeyUnsafe,
            Self::HsmMismatch,
            Self::KeyPending,
            Self::KeySuspended,
            Self::KeyUnknown,
            Self::NonceExpired,
            Self::NonceUnknown,
            Self::NonceUsed,
            Self::SignatureInvalid,
        ]
        .iter()
        .any(|code| code.name() == name)
    }

    /// Whether a process is refused for it although its component is observed: it is another user's, or in a state that
    /// says nothing for its files.
    pub const fn is_never_observed(self) -> bool {
        matches!(
            self,
            Self::PrincipalMismatch
                | Self::SandboxMismatch
                | Self::CodeAnonymous
                | Self::CodeDeleted
                | Self::CodeMemfd
                | Self::CodeWritable
                | Self::TextModified
                | Self::Traced
        )
    }

    /// The reason with one sentence about this case.
    pub fn because(self, detail: impl fmt::Display) -> Reason {
        Reason { code: self.name().to_owned(), detail: text::bounded(&detail.to_string(), MAX_DETAIL) }
    }
}
