//! Refusals by the gate, each with its own reason.

use attestation::decision::{DecisionId, Reason};
use attestation::grant::Operation;
use pkcs11_table::Use;

use crate::holder::AttestationFailure;

/// Why the gate refuses a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no trust token, and none could be had.
    #[error("no trust token: {}", .0.detail)]
    Attestation(AttestationFailure),
    /// The clock that deadlines are measured by cannot be read.
    #[error("CLOCK_BOOTTIME cannot be read")]
    ClockUnreadable,
    /// No random number could be had.
    #[error("the kernel gave no random numbers")]
    NoRandomness,
    /// The token in hand has reached its deadline.
    #[error("the trust token has expired")]
    TokenExpired,
    /// No grant in the trust token covers this use of this key.
    #[error("{operation} with {key} is not granted to {component} {version}")]
    NotGranted {
        /// The use.
        operation: Operation,
        /// The key, as an RFC 7512 URI.
        key: String,
        /// The recognised component.
        component: String,
        /// Its version.
        version: String,
    },
    /// This use cannot be granted at all yet, so nothing passes.
    #[error("{0} is refused: this version of Trustshim has no rule that could permit it")]
    NoRule(Operation),
    /// Two operations in one call.
    #[error("calls that go on with two operations at once are refused")]
    DualFunction,
    /// The operation that the call goes on with was begun under another decision.
    #[error("the function does not belong to the class that was judged")]
    WrongClass,
}

impl Refusal {
    /// The stable code of the reason.
    pub fn code(&self) -> &str {
        match self {
            Self::Attestation(failure) => &failure.code,
            Self::ClockUnreadable => "clock-unreadable",
            Self::NoRandomness => "no-randomness",
            Self::TokenExpired => "token-expired",
            Self::NotGranted { .. } => "not-granted",
            Self::NoRule(_) => "no-rule",
            Self::DualFunction => "dual-function",
            Self::WrongClass => "wrong-class",
        }
    }

    /// Code and sentence, as they go on record.
    pub fn reason(&self) -> Reason {
        Reason { code: self.code().to_owned(), detail: self.to_string() }
    }
}

/// A refusal that is on record (in the log, and due to be reported) under an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub(crate) id: DecisionId,
    pub(crate) refusal: Refusal,
}

impl Denial {
    /// Its name, for `trustshim explain`.
    pub const fn id(&self) -> DecisionId {
        self.id
    }

    /// The reason.
    pub const fn refusal(&self) -> &Refusal {
        &self.refusal
    }
}

/// The operation that a grant has to name for a use.
pub(crate) const fn operation(of: Use) -> Operation {
    match of {
        Use::Administer => Operation::Administer,
        Use::Decrypt => Operation::Decrypt,
        Use::Derive => Operation::Derive,
        Use::Destroy => Operation::Destroy,
        Use::Encrypt => Operation::Encrypt,
        Use::Generate => Operation::Generate,
        Use::Import => Operation::Import,
        Use::Modify => Operation::Modify,
        Use::Reveal => Operation::Reveal,
        Use::Sign => Operation::Sign,
        Use::Unwrap => Operation::Unwrap,
        Use::Verify => Operation::Verify,
        Use::Wrap => Operation::Wrap,
    }
}
