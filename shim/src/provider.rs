//! What answers the calls of an instance, by the mode that the configuration says.

use configuration::Loaded;
use cryptoki_ffi::calls::{self, Call};
use cryptoki_ffi::{CK_RV, Interface, Layer, RealModule};
use gate::Limits;
use gated_module::GatedModule;

use crate::error::StartError;
use crate::inline::Inline;

/// One for each mode.
pub(crate) enum Provider {
    /// Gate and real module in this process.
    Inline(Inline),
}

impl Provider {
    /// Sets up what the configuration asks for; nothing is forwarded yet. `limits` is what this process has counted so far.
    pub(crate) fn start(loaded: Loaded, limits: Limits) -> Result<Self, StartError> {
        match loaded {
            Loaded::Inline(configuration) => Inline::start(configuration, limits).map(Self::Inline),
            Loaded::Guarded(client) => Err(StartError::NoGuardClient { path: client.path }),
        }
    }

    /// The real module, where it is in this process.
    pub(crate) const fn module(&self) -> Option<RealModule> {
        match self {
            Self::Inline(inline) => Some(inline.gated().module()),
        }
    }

    /// The interfaces that the application is told of.
    pub(crate) fn interfaces(&self) -> Vec<&'static Interface> {
        match self {
            Self::Inline(inline) => inline.interfaces(),
        }
    }

    /// Answers a `C_GetInfo` of the lists of 3.x.
    pub(crate) fn newest_info(&self, call: calls::C_GetInfo) -> CK_RV {
        match self {
            Self::Inline(inline) => inline.gated().newest_info(call),
        }
    }

    /// `C_Initialize`, where this process has `inherited` of the real module: a state of the life cycle.
    pub(crate) fn initialize(&self, call: calls::C_Initialize, inherited: u8) -> CK_RV {
        match self {
            Self::Inline(inline) => inline.initialize(call, inherited),
        }
    }

    /// `C_Finalize` is about to come.
    pub(crate) fn say_farewell(&self) {
        match self {
            Self::Inline(inline) => inline.gated().say_farewell(),
        }
    }

    /// `C_Finalize`, of an instance that no call is in any more.
    pub(crate) fn finalize(&self, call: calls::C_Finalize) -> CK_RV {
        match self {
            Self::Inline(inline) => inline.gated().finalize(call),
        }
    }

    /// What has been counted, for the next instance.
    pub(crate) fn limits(&self) -> Limits {
        match self {
            Self::Inline(inline) => inline.gated().limits(),
        }
    }
}

impl<C: Call> Layer<C> for Provider
where
    GatedModule: Layer<C>,
{
    #[inline]
    fn call(&self, call: C) -> CK_RV {
        match self {
            Self::Inline(inline) => inline.gated().call(call),
        }
    }
}
