//! Inline mode: the gate in the application's own process, in front of the real module in the same process.

mod objects;
mod open;
mod operations;
mod refused;
mod sessions;
mod slots;

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use configuration::Configuration;
use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, DenyCode, RealModule, TokenName, denial_rv};
use cryptoki_sys::{
    CKR_CRYPTOKI_ALREADY_INITIALIZED, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_GENERAL_ERROR, CKR_OK,
};
use gate::{Denial, Gate, Open, Session, Sessions};
use linux_ffi::ForkGuard;

use crate::attester::{AttestationPlace, InlineAttester};
use crate::error::StartError;
use crate::exports;
use crate::log::Log;

/// The layer of inline mode.
pub(crate) struct Inline {
    alive: ForkGuard,
    open: AtomicBool,
    configuration: Configuration,
    module: RealModule,
    gate: Gate,
    sessions: Sessions,
    place: Arc<AttestationPlace>,
    deny_code: DenyCode,
}

impl Inline {
    /// Loads the real module and sets up gate and attester; nothing is forwarded yet.
    pub(crate) fn start(configuration: Configuration) -> Result<Self, StartError> {
        let module = RealModule::load(&configuration.real_module.path, exports::own_address())?;
        let alive = ForkGuard::new()?;
        alive.mark();
        let log = Log::of(&configuration.log.target);
        let place = Arc::new(AttestationPlace::new(&configuration.attestation, module)?);
        let attester = InlineAttester::new(&configuration, Arc::clone(&place), module)?;
        let gate = Gate::new(clock, random, Box::new(attester), Box::new(log));
        let deny_code = match configuration.gate.deny_code {
            configuration::DenyCode::FunctionRejected => DenyCode::FunctionRejected,
            configuration::DenyCode::KeyFunctionNotPermitted => DenyCode::KeyFunctionNotPermitted,
            configuration::DenyCode::Vendor => DenyCode::Vendor,
        };
        let sessions = Sessions::default();
        let open = AtomicBool::new(false);
        Ok(Self { alive, open, configuration, module, gate, sessions, place, deny_code })
    }

    /// Initialised, and not a copy in a forked child.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire) && self.alive.is_marked()
    }

    /// This is the copy, in a forked child, of what the parent had initialised.
    pub(crate) fn is_of_parent(&self) -> bool {
        self.open.load(Ordering::Acquire) && !self.alive.is_marked()
    }

    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// `[real_module] init_args`, where set.
    pub(crate) fn init_args(&self) -> Option<&str> {
        Some(self.configuration.real_module.init_args.as_str()).filter(|args| !args.is_empty())
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

    /// `C_Finalize`: the real module's answer; what the gate holds is dropped where that was `CKR_OK`.
    pub(crate) fn finalize(&self, call: calls::C_Finalize) -> CK_RV {
        let rv = self.forward_open(call);
        if rv == CKR_OK {
            self.open.store(false, Ordering::Release);
            self.sessions.clear();
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

    /// The application's session of that handle.
    fn session(&self, handle: u64) -> Result<Arc<Session>, CK_RV> {
        self.sessions.get(handle).ok_or(cryptoki_sys::CKR_SESSION_HANDLE_INVALID)
    }

    fn deny(&self, denial: &Denial) -> CK_RV {
        denial_rv(denial.refusal(), self.deny_code)
    }

    /// The names of the token that a session is on.
    fn token_of(&self, session: &Session) -> Result<TokenName, CK_RV> {
        self.module.token(session.slot()).map_err(|_| CKR_GENERAL_ERROR)
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
