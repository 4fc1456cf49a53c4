//! The one instance of the shim in a process, from `C_Initialize` to `C_Finalize`, and in a forked child anew.

use std::ffi::CString;

use cryptoki_ffi::calls::{self, Call};
use cryptoki_ffi::{CK_RV, Published};
use cryptoki_sys::{
    CKR_ARGUMENTS_BAD, CKR_CRYPTOKI_ALREADY_INITIALIZED, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_GENERAL_ERROR,
    CKR_OK,
};
use parking_lot::Mutex;
use pkcs11_table::Function;

use crate::error::StartError;
use crate::exports;
use crate::inline::Inline;
use crate::interfaces;
use crate::layer::Layer;
use crate::log::Log;

static CURRENT: Published<Inline> = Published::new();
/// Two concurrent `C_Initialize` crash some modules: they are let through one by one.
static LIFE_CYCLE: Mutex<()> = Mutex::new(());

/// How a function finds the layer that answers it.
pub(crate) trait Dispatch: Call {
    /// The answer to this call.
    fn dispatch(self) -> CK_RV;
}

/// Answers a call of the application.
pub(crate) fn answer<C: Dispatch>(call: C) -> CK_RV {
    call.dispatch()
}

/// The instance, if it is initialised and was so by this very process.
fn current() -> Option<&'static Inline> {
    CURRENT.get().filter(|inline| inline.is_open())
}

/// Whether a function may wait until `C_Finalize` is called, which ends it (PKCS#11 2.40 section 5.5). It uses no handle.
const fn waits(function: Function) -> bool {
    matches!(function, Function::C_WaitForSlotEvent)
}

/// Has the instance answer, with the call under way meanwhile.
fn entered(answer: impl FnOnce(&'static Inline) -> CK_RV) -> CK_RV {
    let Some(inline) = current() else { return CKR_CRYPTOKI_NOT_INITIALIZED };
    match inline.enter() {
        Some(_entered) => answer(inline),
        None => CKR_CRYPTOKI_NOT_INITIALIZED,
    }
}

/// Answers a `C_GetInfo` of the lists of 3.x.
pub(crate) fn newest_info(call: calls::C_GetInfo) -> CK_RV {
    entered(|inline| inline.newest_info(call))
}

macro_rules! dispatch {
    (@$name:ident Library) => {};
    (@$name:ident $class:ident) => {
        impl Dispatch for calls::$name {
            fn dispatch(self) -> CK_RV {
                if waits(Self::FUNCTION) {
                    return current()
                        .map_or(CKR_CRYPTOKI_NOT_INITIALIZED, |inline| Layer::call(inline, self));
                }
                entered(|inline| match self.has_possible_lengths() {
                    true => Layer::call(inline, self),
                    false => CKR_ARGUMENTS_BAD,
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
        self.answer(&exports::FUNCTION_LIST)
    }
}

impl Dispatch for calls::C_GetInterfaceList {
    fn dispatch(self) -> CK_RV {
        self.answer(&interfaces::offered(current()))
    }
}

impl Dispatch for calls::C_GetInterface {
    fn dispatch(self) -> CK_RV {
        self.answer(&interfaces::offered(current()))
    }
}

/// An instance by the configuration, or why there is none, with the log that it belongs into.
fn start(secure: bool) -> Result<Inline, (Log, StartError)> {
    let configuration =
        configuration::load(secure).map_err(|error| (Log::before_configuration(), error.into()))?;
    let log = Log::of(&configuration.log.target);
    Inline::start(configuration, CURRENT.get()).map_err(|error| (log, error))
}

impl Dispatch for calls::C_Initialize {
    fn dispatch(self) -> CK_RV {
        let _serial = LIFE_CYCLE.lock();
        if current().is_some() {
            return CKR_CRYPTOKI_ALREADY_INITIALIZED;
        }
        let forked = CURRENT.get().is_some_and(Inline::is_of_parent);
        let secure = linux_ffi::is_secure_execution();
        let inline = match start(secure) {
            Ok(inline) => inline,
            Err((log, error)) => {
                log.failed_to_start(&error);
                return CKR_GENERAL_ERROR;
            }
        };
        let Ok(reserved) = inline.init_args().map(CString::new).transpose() else {
            return CKR_ARGUMENTS_BAD;
        };
        let rv = inline.initialize_module(self, reserved.as_deref(), forked);
        if rv == CKR_OK {
            inline.open();
            CURRENT.publish(Box::new(inline));
        }
        rv
    }
}

impl Dispatch for calls::C_Finalize {
    fn dispatch(self) -> CK_RV {
        let _serial = LIFE_CYCLE.lock();
        match current() {
            Some(inline) => inline.finalize(self),
            None => CKR_CRYPTOKI_NOT_INITIALIZED,
        }
    }
}
