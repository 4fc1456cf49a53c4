//! The C boundary of PKCS#11: the calls as values, views of the caller's memory, the real module, calls that another
//! process answers, and the one entry that nothing unwinds through.
//!
//! A call value ([`calls`]) exists only because a C caller made that call: its constructor is the one unsafe
//! promise that the pointers in it are what PKCS#11 says they are. Everything behind it is safe to use.

mod attester;
mod attributes;
mod caller;
pub mod calls;
mod cancel;
mod counters;
mod entrance;
mod entry;
mod error;
mod interfaces;
mod layer;
mod lengths;
mod lists;
mod object;
mod own_functions;
mod published;
mod real_module;
mod remote;
mod rv;
mod turns;

pub use attester::{AttestationKey, AttesterSession, KeyFacts, SignatureKind, TokenFacts};
pub use attributes::{is_made_of_the_value, is_public_attribute};
pub use caller::{MechanismView, ParameterNames, Stated, TemplateView};
pub use cancel::{Cancelled, named_by};
pub use entrance::{Away, Entered, Entrance};
pub use entry::entry;
pub use error::ModuleError;
pub use interfaces::{Interface, STANDARD, offered, offered_by_version};
pub use layer::{Answers, Layer};
pub use object::{ObjectFacts, TokenName, kind_of};
pub use published::Published;
pub use real_module::RealModule;
pub use remote::{Arena, Remote, serve};
pub use rv::{DenyCode, denial_rv};
pub use turns::Turns;

pub use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CK_VERSION};
