//! What answers the calls of an instance, by the mode that the configuration says.

use core::hint::cold_path;

use configuration::Loaded;
use cryptoki_ffi::Remote;
use cryptoki_ffi::{CK_RV, Interface, Layer, RealModule, calls};
use cryptoki_sys::CKR_OK;
use gate::Limits;
use gated_module::GatedModule;

use crate::error::StartError;
use crate::guarded::Guarded;
use crate::inline::Inline;

/// One for each mode.
#[expect(clippy::large_enum_variant, reason = "there is one in a process, and every call goes through it")]
pub(crate) enum Provider {
    /// Gate and real module in this process.
    Inline(Inline),
    /// Both in the guard's.
    Guarded(Guarded),
}

impl Provider {
    /// Sets up what the configuration asks for; nothing is forwarded yet. `limits` is what this process has counted so far.
    pub(crate) fn start(loaded: Loaded, limits: Limits) -> Result<Self, StartError> {
        match loaded {
            Loaded::Inline(configuration) => Inline::start(configuration, limits).map(Self::Inline),
            Loaded::Guarded(client) => Ok(Self::Guarded(Guarded::start(client)?)),
        }
    }

    /// The real module, where it is in this process.
    pub(crate) const fn module(&self) -> Option<RealModule> {
        match self {
            Self::Inline(inline) => Some(inline.gated().module()),
            Self::Guarded(_) => None,
        }
    }

    /// The interfaces that the application is told of.
    pub(crate) fn interfaces(&self) -> Vec<&'static Interface> {
        match self {
            Self::Inline(inline) => inline.interfaces(),
            Self::Guarded(guarded) => guarded.interfaces(),
        }
    }

    /// Answers a `C_GetInfo` of the lists of 3.x.
    pub(crate) fn newest_info(&self, call: calls::C_GetInfo) -> CK_RV {
        match self {
            Self::Inline(inline) => inline.gated().newest_info(call),
            Self::Guarded(guarded) => guarded.newest_info(call),
        }
    }

    /// `C_Initialize`, where this process has `inherited` of the real module: a state of the life cycle.
    pub(crate) fn initialize(&self, call: calls::C_Initialize, inherited: u8) -> CK_RV {
        match self {
            Self::Inline(inline) => inline.initialize(call, inherited),
            // In the guard's process it has been, for threads.
            Self::Guarded(_) => call.check(),
        }
    }

    /// `C_Finalize` is about to come.
    pub(crate) fn say_farewell(&self) {
        match self {
            Self::Inline(inline) => inline.gated().say_farewell(),
            // It does when it is left.
            Self::Guarded(_) => {}
        }
    }

    /// `C_Finalize`, of an instance that no call is in any more.
    pub(crate) fn finalize(&self, call: calls::C_Finalize) -> CK_RV {
        match self {
            Self::Inline(inline) => inline.gated().finalize(call),
            Self::Guarded(guarded) => {
                let rv = call.check();
                if rv == CKR_OK {
                    guarded.finalize();
                }
                rv
            }
        }
    }

    /// Whether what answered has ended by itself, so that nothing is left to finalise.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::Inline(_) => false,
            Self::Guarded(guarded) => guarded.is_gone(),
        }
    }

    /// What has been counted, for the next instance.
    pub(crate) fn limits(&self) -> Limits {
        match self {
            Self::Inline(inline) => inline.gated().limits(),
            // The guard counts.
            Self::Guarded(_) => Limits::default(),
        }
    }
}

impl<C: Remote> Layer<C> for Provider
where
    GatedModule: Layer<C>,
{
    #[inline(always)]
    fn call(&self, call: C) -> CK_RV {
        match self {
            Self::Inline(inline) => inline.gated().call(call),
            Self::Guarded(guarded) => {
                // Nothing, beside the way to the guard.
                cold_path();
                guarded.call(call)
            }
        }
    }
}
