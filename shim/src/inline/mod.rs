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
mod under_way;
mod wrapping;

use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;

use attestation::key_uri::TokenIdentity;
use configuration::Configuration;
use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, DenyCode, Interface, ModuleError, RealModule, denial_rv};
use cryptoki_sys::{
    CKR_CRYPTOKI_ALREADY_INITIALIZED, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_FUNCTION_FAILED, CKR_GENERAL_ERROR,
    CKR_OK, CKR_SESSION_HANDLE_INVALID,
};
use gate::{Denial, Gate, Open, Place, Scope, Session, Sessions, Settings, rules};
use linux_ffi::ForkGuard;
use parking_lot::MutexGuard;

use crate::attester::{AttestationPlace, InlineAttester};
use crate::error::StartError;
use crate::exports;
use crate::interfaces;
use crate::log::Log;

use under_way::{Entered, UnderWay};

/// How long `C_Finalize` waits for calls that are under way: longer than an attestation, or generating a large key.
const PATIENCE: Duration = Duration::from_secs(30);

/// The layer of inline mode.
pub(crate) struct Inline {
    alive: ForkGuard,
    under_way: UnderWay,
    configuration: Configuration,
    module: RealModule,
    gate: Gate,
    sessions: Arc<Sessions>,
    place: Arc<AttestationPlace>,
    deny_code: DenyCode,
}

impl Inline {
    /// Loads the real module and sets up gate and attester; nothing is forwarded yet. `former` is what was there before.
    pub(crate) fn start(configuration: Configuration, former: Option<&Self>) -> Result<Self, StartError> {
        let module = RealModule::load(&configuration.real_module.path, exports::own_address())?;
        let alive = ForkGuard::new()?;
        alive.mark();
        let log = Log::of(&configuration.log.target);
        let sessions = Arc::new(Sessions::default());
        let place =
            Arc::new(AttestationPlace::new(&configuration.attestation, module, Arc::clone(&sessions))?);
        let attester = InlineAttester::new(&configuration, Arc::clone(&place), module)?;
        let scope = match configuration.gate.scope {
            configuration::Scope::Everything => Scope::Everything,
            configuration::Scope::Keys => Scope::Keys,
        };
        let gate = Gate::new(Settings { clock, random, scope }, Box::new(attester), Box::new(log));
        // A parent's locks may be held by threads that a forked child does not have.
        let gate = match former.filter(|former| former.alive.is_marked()) {
            Some(former) => gate.with_rates_of(&former.gate),
            None => gate,
        };
        let deny_code = match configuration.gate.deny_code {
            configuration::DenyCode::FunctionRejected => DenyCode::FunctionRejected,
            configuration::DenyCode::KeyFunctionNotPermitted => DenyCode::KeyFunctionNotPermitted,
            configuration::DenyCode::Vendor => DenyCode::Vendor,
        };
        let under_way = UnderWay::new();
        Ok(Self { alive, under_way, configuration, module, gate, sessions, place, deny_code })
    }

    /// Initialised, and not a copy in a forked child.
    pub(crate) fn is_open(&self) -> bool {
        self.under_way.is_open() && self.alive.is_marked()
    }

    /// This is the copy, in a forked child, of what the parent had initialised.
    pub(crate) fn is_of_parent(&self) -> bool {
        self.under_way.is_open() && !self.alive.is_marked()
    }

    pub(crate) fn open(&self) {
        self.under_way.open();
    }

    /// Lets a call in: until what it gives is dropped, the library stays initialised.
    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        self.alive.is_marked().then(|| self.under_way.enter()).flatten()
    }

    /// `[real_module] init_args`, where set.
    pub(crate) fn init_args(&self) -> Option<&str> {
        Some(self.configuration.real_module.init_args.as_str()).filter(|args| !args.is_empty())
    }

    /// The interfaces that the application is told of.
    pub(crate) fn interfaces(&self) -> Vec<&'static Interface> {
        interfaces::in_front_of(self.module, &self.configuration)
    }

    /// Answers a `C_GetInfo` of the lists of 3.x.
    pub(crate) fn newest_info(&self, call: calls::C_GetInfo) -> CK_RV {
        self.module.newest_info(call)
    }

    /// Initialises the real module. In a forked child it may hold on to the parent's state: then that goes first.
    pub(crate) fn initialize_module(
        &self,
        call: calls::C_Initialize,
        reserved: Option<&CStr>,
        forked: bool,
    ) -> CK_RV {
        match self.module.initialize(call, reserved) {
            CKR_CRYPTOKI_ALREADY_INITIALIZED if forked => match self.module.finalize_parents() {
                CKR_OK | CKR_CRYPTOKI_NOT_INITIALIZED => self.module.initialize(call, reserved),
                rv => rv,
            },
            rv => rv,
        }
    }

    /// `C_Finalize`: the real module's answer; what the gate holds is dropped where that was `CKR_OK`. Refusals that the
    /// policy server has not heard of are delivered before, while the attestation key can still sign.
    ///
    /// The real module is asked once no call is under way. The standard has the application see to that (PKCS#11 2.40
    /// section 5.4), but one that does not must gain nothing by it.
    pub(crate) fn finalize(&self, call: calls::C_Finalize) -> CK_RV {
        self.gate.say_farewell();
        if !self.under_way.close(PATIENCE) {
            return CKR_FUNCTION_FAILED;
        }
        let rv = self.forward_open(call);
        if rv == CKR_OK {
            self.sessions.clear();
            self.gate.provenance().clear();
            self.gate.handles().clear();
        } else {
            self.under_way.open();
        }
        rv
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

    /// The application's session of that handle.
    fn session(&self, handle: u64) -> Result<&Place, CK_RV> {
        self.sessions.get(handle).ok_or(CKR_SESSION_HANDLE_INVALID)
    }

    /// The application's session of that handle, held: no other thread's call on it slips in between.
    fn hold(&self, handle: u64) -> Result<(&Place, MutexGuard<'_, Session>), CK_RV> {
        let place = self.session(handle)?;
        let session = place.lock();
        // It may have been closed while this thread waited.
        if place.is(handle) { Ok((place, session)) } else { Err(CKR_SESSION_HANDLE_INVALID) }
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
