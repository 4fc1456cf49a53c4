//! Inline mode: the gate in the application's own process, in front of the real module in the same process.

mod administration;
mod asynchronous;
mod attributes;
mod cancelling;
mod creation;
mod digests;
mod encapsulation;
mod lookup;
mod messages;
mod objects;
mod open;
mod operations;
mod sessions;
mod slots;
mod state;
mod trust_token;
mod wrapping;

use std::ffi::CStr;
use std::sync::Arc;

use attestation::key_uri::TokenIdentity;
use configuration::Configuration;
use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, DenyCode, Interface, ModuleError, RealModule, denial_rv};
use cryptoki_sys::{CKR_GENERAL_ERROR, CKR_OK, CKR_SESSION_HANDLE_INVALID};
use gate::{Denial, Gate, Held, Limits, Open, Place, Scope, Sessions, Settings, rules};

use crate::attester::{AttestationPlace, InlineAttester};
use crate::error::StartError;
use crate::exports;
use crate::interfaces;
use crate::log::Log;

/// The layer of inline mode.
pub(crate) struct Inline {
    configuration: Configuration,
    module: RealModule,
    gate: Gate,
    sessions: Arc<Sessions>,
    place: Arc<AttestationPlace>,
    deny_code: DenyCode,
}

impl Inline {
    /// Loads the real module and sets up gate and attester; nothing is forwarded yet. `limits` is what this process has
    /// counted so far.
    pub(crate) fn start(configuration: Configuration, limits: Limits) -> Result<Self, StartError> {
        let module = RealModule::load(&configuration.real_module.path, exports::own_address())?;
        let log = Log::of(&configuration.log.target);
        let sessions = Arc::new(Sessions::default());
        let place =
            Arc::new(AttestationPlace::new(&configuration.attestation, module, Arc::clone(&sessions))?);
        let attester = InlineAttester::new(&configuration, Arc::clone(&place), module)?;
        let scope = match configuration.gate.scope {
            configuration::Scope::Everything => Scope::Everything,
            configuration::Scope::Keys => Scope::Keys,
        };
        let gate = Gate::new(Settings { clock, random, scope }, Box::new(attester), Box::new(log))
            .with_limits(limits);
        let deny_code = match configuration.gate.deny_code {
            configuration::DenyCode::FunctionRejected => DenyCode::FunctionRejected,
            configuration::DenyCode::KeyFunctionNotPermitted => DenyCode::KeyFunctionNotPermitted,
            configuration::DenyCode::Vendor => DenyCode::Vendor,
        };
        Ok(Self { configuration, module, gate, sessions, place, deny_code })
    }

    /// `[real_module] init_args`, where set.
    pub(crate) fn init_args(&self) -> Option<&str> {
        Some(self.configuration.real_module.init_args.as_str()).filter(|args| !args.is_empty())
    }

    /// The real module.
    pub(crate) const fn module(&self) -> RealModule {
        self.module
    }

    /// The interfaces that the application is told of.
    pub(crate) fn interfaces(&self) -> Vec<&'static Interface> {
        interfaces::in_front_of(self.module, &self.configuration)
    }

    /// Answers a `C_GetInfo` of the lists of 3.x.
    pub(crate) fn newest_info(&self, call: calls::C_GetInfo) -> CK_RV {
        self.module.newest_info(call)
    }

    /// Initialises the real module.
    pub(crate) fn initialize_module(&self, call: calls::C_Initialize, reserved: Option<&CStr>) -> CK_RV {
        self.module.initialize(call, reserved)
    }

    /// Ends, in a forked child, what the real module has copied from the parent.
    pub(crate) fn finalize_parents(&self) -> CK_RV {
        self.module.finalize_parents()
    }

    /// `C_Initialize` fails.
    pub(crate) fn failed_to_start(&self, error: &StartError) {
        Log::of(&self.configuration.log.target).failed_to_start(error);
    }

    /// Delivers refusals that the policy server has not heard of, while the attestation key can still sign.
    pub(crate) fn say_farewell(&self) {
        self.gate.say_farewell();
    }

    /// `C_Finalize`, of an instance that no call is in any more: the real module's answer.
    pub(crate) fn finalize_module(&self, call: calls::C_Finalize) -> CK_RV {
        self.forward_open(call)
    }

    /// What the gate has counted, for the next instance.
    pub(crate) fn limits(&self) -> Limits {
        self.gate.limits()
    }

    /// Forwards a call whose row in the table is open.
    fn forward_open<C: calls::Call<Permit = Open>>(&self, call: C) -> CK_RV {
        match Open::of(C::FUNCTION) {
            Some(permit) => self.module.invoke(permit, call),
            None => CKR_GENERAL_ERROR,
        }
    }

    /// Forwards a call that has the HSM do something without a key.
    fn forward_keyless<C: calls::Call<Permit = Open>>(&self, call: C, place: &Place) -> CK_RV {
        match self.gate.keyless(place, &rules::harmless(C::FUNCTION)) {
            Ok(permit) => self.module.invoke(permit, call),
            Err(denial) => self.deny(&denial),
        }
    }

    /// The application's session of that handle, to be held until the real module has answered: no other thread's call on it
    /// slips in, and it is not closed, after which the handle could be another session's.
    fn hold(&self, handle: u64) -> Result<Held<'_>, CK_RV> {
        self.sessions.hold(handle).ok_or(CKR_SESSION_HANDLE_INVALID)
    }

    fn deny(&self, denial: &Denial) -> CK_RV {
        denial_rv(denial.refusal(), self.deny_code)
    }

    /// The names of the token in a slot.
    fn token(&self, slot: u64) -> Result<TokenIdentity, CK_RV> {
        self.module.token(slot).map(|token| token.identity).map_err(|error| match error {
            ModuleError::Failed { rv, .. } => rv,
            _ => CKR_GENERAL_ERROR,
        })
    }
}

/// Gives what a call has made to the caller.
fn delivered<T>(made: Result<T, CK_RV>, deliver: impl FnOnce(T)) -> CK_RV {
    match made {
        Ok(made) => {
            deliver(made);
            CKR_OK
        }
        Err(rv) => rv,
    }
}

fn clock() -> Option<u64> {
    linux_ffi::boottime_ms().ok()
}

fn random() -> Option<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .is_ok_and(|count| count == bytes.len())
        .then(|| u64::from_ne_bytes(bytes))
}
