//! The layer: the gate, and the real module in the same process behind it.

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

use core::hint::cold_path;
use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use attestation::key_uri::TokenIdentity;
use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, DenyCode, ModuleError, RealModule, denial_rv};
use cryptoki_sys::{CKR_GENERAL_ERROR, CKR_OK, CKR_SESSION_HANDLE_INVALID};
use gate::{Attester, Denial, Gate, Held, Limits, Open, Place, Recorder, Scope, Session, Sessions, Settings};
use locks::MutexGuard;
use pkcs11_table::FlatMechanisms;

use crate::pin_file::Pins;
use crate::place::AttestationPlace;

/// The real module, of which only what the gate permits is reached. Of one application, in one process, from
/// `C_Initialize` to `C_Finalize`.
pub struct GatedModule {
    module: RealModule,
    gate: Gate,
    sessions: Arc<Sessions>,
    place: Arc<AttestationPlace>,
    deny_code: DenyCode,
    logins: Logins,
    most_sessions: usize,
    /// Calls on one session come one by one, harmless ones too: what the real module has in memory is not protected against calls at
    /// once, or not the caller's to disturb.
    is_one_by_one: AtomicBool,
    /// Raised by whoever changes a PIN or makes a token anew.
    administrations: Option<Box<dyn AsRef<AtomicU64> + Send + Sync>>,
    /// The vendors' mechanisms whose parameter names nothing.
    flat: FlatMechanisms,
}

/// Who may log in as the token's user, and with which PIN.
#[derive(Debug)]
pub enum Logins {
    /// Who has it, with the application's PIN.
    AsAsked,
    /// Who has a trust token, with the application's PIN.
    Attested,
    /// Who has a trust token, with a PIN that is not the application's.
    With(Pins),
}

impl GatedModule {
    /// Sets up the gate in front of the real module of `place`; nothing is forwarded yet.
    pub fn new(
        place: Arc<AttestationPlace>,
        settings: configuration::Gate,
        attester: Box<dyn Attester>,
        recorder: Box<dyn Recorder>,
    ) -> Self {
        let scope = match settings.scope {
            configuration::Scope::Everything => Scope::Everything,
            configuration::Scope::Keys => Scope::Keys,
        };
        let deny_code = match settings.deny_code {
            configuration::DenyCode::FunctionRejected => DenyCode::FunctionRejected,
            configuration::DenyCode::KeyFunctionNotPermitted => DenyCode::KeyFunctionNotPermitted,
            configuration::DenyCode::Vendor => DenyCode::Vendor,
        };
        Self {
            module: place.module(),
            gate: Gate::new(Settings { clock, random, scope }, attester, recorder),
            sessions: Arc::clone(place.sessions()),
            place,
            deny_code,
            logins: Logins::AsAsked,
            most_sessions: usize::MAX,
            is_one_by_one: AtomicBool::new(true),
            administrations: None,
            flat: settings.flat_mechanisms,
        }
    }

    /// Goes on from what this process has counted so far.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { gate: self.gate.with_limits(limits), ..self }
    }

    /// Shares with others that reach the same token how often objects were changed.
    #[must_use]
    pub fn with_shared_changes(self, counter: Box<dyn AsRef<AtomicU64> + Send + Sync>) -> Self {
        Self { gate: self.gate.with_shared_changes(counter), ..self }
    }

    /// Counts where others see it how often the token was administered: some modules know of PINs what they were when they were
    /// initialised.
    #[must_use]
    pub fn with_shared_administrations(self, counter: Box<dyn AsRef<AtomicU64> + Send + Sync>) -> Self {
        Self { administrations: Some(counter), ..self }
    }

    /// The token has been administered.
    fn administered(&self) {
        if let Some(counter) = &self.administrations {
            (**counter).as_ref().fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Takes a login for what `logins` says, and opens no more than so many sessions at once.
    #[must_use]
    pub fn with_bounds(self, logins: Logins, most_sessions: usize) -> Self {
        Self { logins, most_sessions, ..self }
    }

    /// The vendors' mechanisms whose parameter is taken for bytes.
    pub const fn flat_mechanisms(&self) -> &FlatMechanisms {
        &self.flat
    }

    /// The real module.
    pub const fn module(&self) -> RealModule {
        self.module
    }

    /// Answers a `C_GetInfo` of the lists of 3.x.
    pub fn newest_info(&self, call: calls::C_GetInfo) -> CK_RV {
        self.module.newest_info(call)
    }

    /// Initialises the real module, with `reserved` for it where that is configured. Applications share a session among threads
    /// even where they say that they have one thread: the module must not be in two calls on it at once then.
    pub fn initialize(&self, call: calls::C_Initialize, reserved: Option<&CStr>) -> CK_RV {
        self.is_one_by_one.store(!call.is_for_threads(), Ordering::Relaxed);
        self.module.initialize(call, reserved)
    }

    /// Ends, in a forked child, what the real module has copied from the parent.
    pub fn finalize_parents(&self) -> CK_RV {
        self.module.finalize_parents()
    }

    /// Ends the trust token in hand, since what it was issued for is no more as it was. Whether there is another, a new
    /// attestation shows: operations that run go on with that one, for a continuation asks for none by itself.
    pub fn attest_anew(&self) {
        if self.gate.end_token() {
            self.gate.prepare();
        }
    }

    /// Delivers refusals that the policy server has not heard of, while the attestation key can still sign.
    pub fn say_farewell(&self) {
        self.gate.say_farewell();
    }

    /// `C_Finalize`, once no call is under way any more: the real module's answer.
    pub fn finalize(&self, call: calls::C_Finalize) -> CK_RV {
        self.forward_open(call)
    }

    /// What the gate has counted, for the next instance.
    pub fn limits(&self) -> Limits {
        self.gate.limits()
    }

    /// Forwards a call whose row in the table is open.
    #[inline(always)]
    fn forward_open<C: calls::Call<Permit = Open>>(&self, call: C) -> CK_RV {
        match Open::of(C::FUNCTION) {
            Some(permit) => self.module.invoke(permit, call),
            None => CKR_GENERAL_ERROR,
        }
    }

    /// Forwards a call that has the HSM do something without a key.
    #[inline(always)]
    fn forward_keyless<C: calls::Call<Permit = Open>>(&self, call: C, place: &Place) -> CK_RV {
        match self.gate.harmless(place, C::FUNCTION) {
            Ok(permit) => self.module.invoke(permit, call),
            Err(denial) => self.deny(&denial),
        }
    }

    /// The application's session of that handle, to be held until the real module has answered: no other thread's call on it
    /// slips in, and it is not closed, after which the handle could be another session's.
    fn hold(&self, handle: u64) -> Result<Held<'_>, CK_RV> {
        self.sessions.hold(handle).ok_or(CKR_SESSION_HANDLE_INVALID)
    }

    /// Whether the real module may be in several calls on one session at once.
    #[inline(always)]
    fn takes_calls_at_once(&self) -> bool {
        !self.is_one_by_one.load(Ordering::Relaxed)
    }

    /// The application's session of that handle, for a call that does nothing to it and tells nothing of another: where the module
    /// may be in several calls at once, it waits for no other call, and is not in the way of one.
    #[inline(always)]
    fn look_up(&self, handle: u64) -> Result<(&Place, Option<MutexGuard<'_, Session>>), CK_RV> {
        if !self.takes_calls_at_once() {
            cold_path();
            return self.hold(handle).map(|(place, held)| (place, Some(held)));
        }
        self.sessions.get(handle).map(|place| (place, None)).ok_or(CKR_SESSION_HANDLE_INVALID)
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
