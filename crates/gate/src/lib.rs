//! The gate: whether a call may reach the token. Permits, the rules and the pure decision, the trust token in hand and its
//! renewal, sessions with their running operations, and the refusals that still have to be reported.

#![forbid(unsafe_code)]

mod authorize;
mod denial;
mod ends;
mod gate;
mod handles;
mod holder;
mod limits;
mod permit;
mod provenance;
mod records;
mod report;
pub mod rules;
mod session;
mod sessions;
mod subject;

pub use authorize::{Demand, Grounds, Limit, Name, authorize};
pub use denial::{Denial, Refusal};
pub use ends::{Ends, Withdrawn};
pub use gate::{Begun, Gate, Look, Scope, Settings};
pub use handles::Handles;
pub use holder::{
    AttestationFailure, AttestationOutcome, AttestationRequest, Attester, FailureKind, RENEWAL_BUDGET_MS,
};
pub use limits::{Counter, Limits, Spending};
pub use permit::{Open, Permit};
pub use provenance::{Provenance, Unaccounted};
pub use report::{Recorder, Report, Reports};
pub use rules::{AttributeRequest, Demands, Mechanism, ObjectKind};
pub use session::{Running, Session};
pub use sessions::{Held, Place, Sessions};
pub use subject::{Named, NewObject, Subject};
