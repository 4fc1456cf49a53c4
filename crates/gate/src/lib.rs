//! The gate: whether a call may reach the token. Permits, the pure decision, the trust token in hand and its
//! renewal, sessions with their running operations, and the refusals that still have to be reported.

#![forbid(unsafe_code)]

mod authorize;
mod denial;
mod gate;
mod holder;
mod objects;
mod permit;
mod report;
mod sessions;

pub use authorize::{KeyUse, authorize};
pub use denial::{Denial, Refusal};
pub use gate::{Begun, Gate};
pub use holder::{AttestationFailure, Attester, FailureKind, RENEWAL_BUDGET_MS};
pub use objects::{AttributeRequest, ObjectKind, judge_attributes, judge_object};
pub use permit::{Open, Permit};
pub use report::{Recorder, Report, Reports};
pub use sessions::{Running, Session, Sessions};
