//! Refusals by the gate, each with its own reason.

use attestation::decision::{DecisionId, Reason};
use attestation::grant::Operation;
use pkcs11_table::mechanism_name;

use crate::holder::AttestationFailure;

/// Why the gate refuses a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no trust token, and none could be had.
    #[error("no trust token: {}", .0.detail)]
    Attestation(AttestationFailure),
    /// The object would be one of another class: for that it would have to be judged as something that it is not yet.
    #[error("no object becomes one of another class")]
    ClassChanged,
    /// The clock that deadlines are measured by shows an earlier time than before.
    #[error("CLOCK_BOOTTIME went backwards")]
    ClockBackwards,
    /// The clock that deadlines are measured by cannot be read.
    #[error("CLOCK_BOOTTIME cannot be read")]
    ClockUnreadable,
    /// Every grant that covers this has an end that has come.
    #[error("the grant to {operation} with {key} has expired")]
    GrantExpired {
        /// The use.
        operation: Operation,
        /// The key, as an RFC 7512 URI.
        key: String,
    },
    /// A trust token that was handed in does not count.
    #[error("the trust token that was handed in does not count: {}", .0.detail)]
    HandedIn(AttestationFailure),
    /// The grants that cover this are for other mechanisms.
    #[error("{} is not among the mechanisms granted to {operation} with {key}", shown(*mechanism))]
    MechanismNotGranted {
        /// `CKM_` number.
        mechanism: u64,
        /// The use.
        operation: Operation,
        /// The key, as an RFC 7512 URI.
        key: String,
    },
    /// The mechanism's parameter can name keys in a way that the gate cannot check.
    #[error("the parameter of {} can hold keys that the gate cannot see", shown(*.0))]
    MechanismUnclear(u64),
    /// The object would get a name of which the grants that cover it state a part only.
    #[error(
        "the grant to {operation} states neither all of id, object and type nor that many keys are meant, and so does not let \
         an object be called {key}"
    )]
    NameInPart {
        /// The use.
        operation: Operation,
        /// What the object would be, as an RFC 7512 URI.
        key: String,
    },
    /// The object would get a name by which another grant of the component comes to cover it.
    #[error("{key} is named by the grant {grant}, which does not let the component {operation} it")]
    NameOfAnotherGrant {
        /// The use.
        operation: Operation,
        /// What the object would be, as an RFC 7512 URI.
        key: String,
        /// The other grant.
        grant: String,
    },
    /// No random number could be had.
    #[error("the kernel gave no random numbers")]
    NoRandomness,
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
    /// The grant's rate is used up.
    #[error("the rate of the grant {0} is used up")]
    RateExceeded(String),
    /// The template does not say for certain what the object will be.
    #[error(
        "the template states class, label, id, CKA_TOKEN or CKA_PRIVATE more than once or in a form that cannot be read"
    )]
    TemplateUnclear,
    /// The token in hand has reached its deadline, or was withdrawn.
    #[error("the trust token has expired")]
    TokenExpired,
    /// The object of the session was made by no call that the gate has seen.
    #[error("the object is none of the token, and no call that the gate permitted has made it")]
    Unaccounted,
    /// The operation that the call goes on with was begun under another decision.
    #[error("the function does not belong to the class that was judged")]
    WrongClass,
}

impl Refusal {
    /// The stable code of the reason.
    pub fn code(&self) -> &str {
        match self {
            Self::Attestation(failure) | Self::HandedIn(failure) => &failure.code,
            Self::ClassChanged => "class-changed",
            Self::ClockBackwards => "clock-backwards",
            Self::ClockUnreadable => "clock-unreadable",
            Self::GrantExpired { .. } => "grant-expired",
            Self::MechanismNotGranted { .. } => "mechanism-not-granted",
            Self::MechanismUnclear(_) => "mechanism-unclear",
            Self::NameInPart { .. } => "name-in-part",
            Self::NameOfAnotherGrant { .. } => "name-of-another-grant",
            Self::NoRandomness => "no-randomness",
            Self::NotGranted { .. } => "not-granted",
            Self::RateExceeded(_) => "rate-exceeded",
            Self::TemplateUnclear => "template-unclear",
            Self::TokenExpired => "token-expired",
            Self::Unaccounted => "object-unaccounted",
            Self::WrongClass => "wrong-class",
        }
    }

    /// Code and sentence, as they go on record.
    pub fn reason(&self) -> Reason {
        Reason { code: self.code().to_owned(), detail: self.to_string() }
    }

    /// What was not granted, as an RFC 7512 URI: of several objects of a call, the one that it is about.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::GrantExpired { key, .. }
            | Self::MechanismNotGranted { key, .. }
            | Self::NameInPart { key, .. }
            | Self::NameOfAnotherGrant { key, .. }
            | Self::NotGranted { key, .. } => Some(key),
            _ => None,
        }
    }

    /// The decision of the policy server that it rests on, where there is one.
    pub(crate) const fn decision(&self) -> Option<DecisionId> {
        match self {
            Self::Attestation(failure) | Self::HandedIn(failure) => failure.decision,
            _ => None,
        }
    }
}

fn shown(number: u64) -> String {
    mechanism_name(number).map_or_else(|| format!("the mechanism {number:#x}"), str::to_owned)
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
