//! The one instance of the shim in a process, from `C_Initialize` to `C_Finalize`, and in a forked child anew.

use core::hint::cold_path;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use configuration::Loaded;
use cryptoki_ffi::calls::{self, Call};
use cryptoki_ffi::{Away, CK_RV, Entered, Entrance, Layer, RealModule};
use cryptoki_sys::{
    CKR_ARGUMENTS_BAD, CKR_CRYPTOKI_ALREADY_INITIALIZED, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_FUNCTION_FAILED,
    CKR_GENERAL_ERROR, CKR_OK,
};
use gate::Limits;
use gated_module::Log;
use linux_ffi::OfProcess;
use locks::Mutex;
use pkcs11_table::Function;

use crate::error::StartError;
use crate::exports;
use crate::interfaces;
use crate::provider::Provider;

/// How long `C_Finalize` waits for calls that are under way: longer than an attestation, or generating a large key.
const PATIENCE: Duration = Duration::from_secs(30);

/// A forked child has one of its own: what other threads of its parent were about at the fork leaves nothing locked.
static LIFE_CYCLE: OfProcess<LifeCycle> = OfProcess::new();

/// The life cycle in one process.
struct LifeCycle {
    entrance: Entrance<Provider>,
    /// Two concurrent `C_Initialize` crash some modules: they are let through one by one.
    serial: Mutex<Lasting>,
    /// What a child that is forked now finds of the real module: one of the states below, read without a lock.
    module: AtomicU8,
}

/// What lasts from one instance to the next.
struct Lasting {
    limits: Limits,
    /// What this process has of the real module from its parent, until it has initialised it itself.
    inherited: u8,
}

/// Not initialised through the shim.
const NOTHING: u8 = 0;
/// Initialised, by this process or by its parent.
pub(crate) const INITIALISED: u8 = 1;
/// In the middle of a call: nobody can make anything of such a copy, which may be locked as well.
pub(crate) const IN_USE: u8 = 2;

impl LifeCycle {
    /// That of a process whose parent, if it was forked, had `parents`.
    fn new(parents: Option<&Self>) -> Self {
        let inherited = match parents.map(|parents| (parents, parents.module.load(Ordering::Acquire))) {
            None => NOTHING,
            Some((parents, INITIALISED)) if parents.entrance.is_module_busy() => IN_USE,
            Some((_, module)) => module,
        };
        let lasting = Lasting { limits: Limits::default(), inherited };
        Self { entrance: Entrance::new(), serial: Mutex::new(lasting), module: AtomicU8::new(inherited) }
    }

    fn initialize(&self, call: calls::C_Initialize) -> CK_RV {
        let mut lasting = self.serial.lock();
        if self.entrance.is_open() && !self.has_left() {
            return CKR_CRYPTOKI_ALREADY_INITIALIZED;
        }
        let provider = match start(linux_ffi::is_secure_execution(), lasting.limits.clone()) {
            Ok(provider) => provider,
            Err((log, error)) => {
                log.failed_to_start(&error);
                return error.rv();
            }
        };
        let before = self.module.swap(IN_USE, Ordering::AcqRel);
        let initializing = Initializing::of(provider.module());
        let rv = provider.initialize(call, lasting.inherited);
        drop(initializing);
        if rv != CKR_OK {
            self.module.store(before, Ordering::Release);
            return rv;
        }
        self.module.store(INITIALISED, Ordering::Release);
        *lasting = Lasting { limits: provider.limits(), inherited: NOTHING };
        match self.entrance.open(Arc::new(provider)) {
            Ok(()) => CKR_OK,
            // Nobody opens it but who has the lock.
            Err(_) => CKR_GENERAL_ERROR,
        }
    }

    /// Whether the instance that there was is none any more, because what answered its calls has ended by itself. An
    /// application that gets nothing but errors may begin anew without an end.
    fn has_left(&self) -> bool {
        let is_gone = self.entrance.enter().is_some_and(|provider| provider.is_gone());
        is_gone && self.entrance.close(PATIENCE).is_some()
    }

    /// The real module is asked once no call is under way. The standard has the application see to that (PKCS#11 2.40 section
    /// 5.4), but one that does not must gain nothing by it: handles that a call has judged would mean others afterwards.
    fn finalize(&self, call: calls::C_Finalize) -> CK_RV {
        let _serial = self.serial.lock();
        match self.entrance.enter() {
            Some(provider) => provider.say_farewell(),
            None => return CKR_CRYPTOKI_NOT_INITIALIZED,
        }
        let Some(provider) = self.entrance.close(PATIENCE) else { return CKR_FUNCTION_FAILED };
        self.module.store(IN_USE, Ordering::Release);
        let rv = provider.finalize(call);
        // Somebody else in this process may have finalised the real module directly.
        if matches!(rv, CKR_OK | CKR_CRYPTOKI_NOT_INITIALIZED) {
            self.module.store(NOTHING, Ordering::Release);
            return rv;
        }
        self.module.store(INITIALISED, Ordering::Release);
        match self.entrance.open(provider) {
            Ok(()) => rv,
            Err(_) => CKR_GENERAL_ERROR,
        }
    }
}

thread_local! {
    /// The real module while this thread has it initialised.
    static INITIALIZING: Cell<Option<RealModule>> = const { Cell::new(None) };
}

/// This thread has the real module initialised, until dropped. A module that calls its own `C_Finalize` meanwhile (OpenSC
/// does) comes out here where the shim was preloaded.
struct Initializing;

impl Initializing {
    fn of(module: Option<RealModule>) -> Self {
        // Where a thread has no memory of its own any more, the module's own calls are not told from the application's.
        let _ = INITIALIZING.try_with(|initializing| initializing.set(module));
        Self
    }

    /// The module whose own call this is.
    fn module() -> Option<RealModule> {
        INITIALIZING.try_with(Cell::get).ok().flatten()
    }
}

impl Drop for Initializing {
    fn drop(&mut self) {
        let _ = INITIALIZING.try_with(|initializing| initializing.set(None));
    }
}

/// The call that this thread is in leaves the real module alone, for as long as what this gives is kept.
pub(crate) fn step_away() -> Option<Away<'static>> {
    LIFE_CYCLE.get()?.entrance.step_away()
}

/// Lets a call in to the instance, if it is initialised and was so by this very process. Until what this gives is dropped,
/// the library stays initialised.
fn enter() -> Option<Entered<'static, Provider>> {
    LIFE_CYCLE.get()?.entrance.enter()
}

/// How a function finds the layer that answers it.
pub(crate) trait Dispatch: Call {
    /// The answer to this call.
    fn dispatch(self) -> CK_RV;
}

/// Answers a call of the application.
#[inline(always)]
pub(crate) fn answer<C: Dispatch>(call: C) -> CK_RV {
    call.dispatch()
}

/// Whether a function may wait until `C_Finalize` is called, which ends it (PKCS#11 2.40 section 5.5). It uses no handle.
const fn waits(function: Function) -> bool {
    matches!(function, Function::C_WaitForSlotEvent)
}

/// Has the instance answer, with the call under way meanwhile.
///
/// On the way to an open function, ours is to be the only frame on the stack: after a system call in the module, such as `getpid`,
/// processors have forgotten where their callers return to, and each frame that has to be found anew takes some 10 ns.
#[inline(always)]
fn entered(answer: impl FnOnce(&Provider) -> CK_RV) -> CK_RV {
    match enter() {
        Some(provider) => answer(&provider),
        None => {
            cold_path();
            CKR_CRYPTOKI_NOT_INITIALIZED
        }
    }
}

/// Answers a `C_GetInfo` of the lists of 3.x.
pub(crate) fn newest_info(call: calls::C_GetInfo) -> CK_RV {
    entered(|provider| provider.newest_info(call))
}

macro_rules! dispatch {
    (@$name:ident Library) => {};
    (@$name:ident $class:ident) => {
        impl Dispatch for calls::$name {
            #[inline(always)]
            fn dispatch(self) -> CK_RV {
                if waits(Self::FUNCTION) {
                    let share = enter().map(|provider| provider.share());
                    return share.map_or(CKR_CRYPTOKI_NOT_INITIALIZED, |provider| Layer::call(&*provider, self));
                }
                entered(|provider| match self.has_possible_lengths() {
                    true => Layer::call(provider, self),
                    false => {
                        cold_path();
                        CKR_ARGUMENTS_BAD
                    }
                })
            }
        }
    };
    ($($since:ident {
        $($name:ident: $class:ident $(($($use:ident),+))?, ($($argument:ident: $type:ty),*);)*
    })*) => {
        $($(dispatch!(@$name $class);)*)*
    };
}

pkcs11_table::pkcs11_functions!(dispatch);

impl Dispatch for calls::C_GetFunctionList {
    fn dispatch(self) -> CK_RV {
        load_early();
        self.answer(&exports::FUNCTION_LIST)
    }
}

/// Has the real module loaded when an application has reason to think that it is: of the handlers that the two of them leave
/// for the end of the process, those that were left last run first, and an application's call `C_Finalize`. Why it cannot be
/// loaded is for `C_Initialize` to say.
fn load_early() {
    // Once, also where the real module asks us in turn.
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::Relaxed) {
        drop(interfaces::offered(None));
    }
}

impl Dispatch for calls::C_GetInterfaceList {
    fn dispatch(self) -> CK_RV {
        self.answer(&interfaces::offered(enter().as_deref()))
    }
}

impl Dispatch for calls::C_GetInterface {
    fn dispatch(self) -> CK_RV {
        self.answer(&interfaces::offered(enter().as_deref()))
    }
}

/// An instance by the configuration, or why there is none, with the log that it belongs into.
fn start(secure: bool, limits: Limits) -> Result<Provider, (Log, StartError)> {
    let loaded = configuration::load(secure).map_err(|error| (Log::before_configuration(), error.into()))?;
    let log = Log::of(match &loaded {
        Loaded::Inline(configuration) => &configuration.log.target,
        Loaded::Guarded(client) => &client.log.target,
    });
    Provider::start(loaded, limits).map_err(|error| (log, error))
}

impl Dispatch for calls::C_Initialize {
    fn dispatch(self) -> CK_RV {
        if Initializing::module().is_some() {
            return CKR_CRYPTOKI_ALREADY_INITIALIZED;
        }
        match LIFE_CYCLE.get_or_make(LifeCycle::new) {
            Ok(life_cycle) => life_cycle.initialize(self),
            Err(error) => {
                Log::before_configuration().failed_to_start(&StartError::from(error));
                CKR_GENERAL_ERROR
            }
        }
    }
}

impl Dispatch for calls::C_Finalize {
    fn dispatch(self) -> CK_RV {
        if let Some(module) = Initializing::module() {
            return module.finalize_parents();
        }
        match LIFE_CYCLE.get() {
            Some(life_cycle) => life_cycle.finalize(self),
            None => CKR_CRYPTOKI_NOT_INITIALIZED,
        }
    }
}
