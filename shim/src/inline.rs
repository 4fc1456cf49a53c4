//! Inline mode: the gate in the application's own process, in front of the real module in the same process.

use std::ffi::CString;
use std::sync::Arc;

use attestation::component::MeasuredFile;
use attester::{InlineAttester, Surroundings};
use configuration::Configuration;
use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, Interface, RealModule};
use cryptoki_sys::{
    CKR_ARGUMENTS_BAD, CKR_CRYPTOKI_ALREADY_INITIALIZED, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_GENERAL_ERROR,
    CKR_OK,
};
use gate::Limits;
use gated_module::{AttestationPlace, GatedModule, Log};
use measurement::{Hashing, MeasurementError};

use crate::error::StartError;
use crate::exports;
use crate::instance::{self, IN_USE, INITIALISED};
use crate::interfaces;

/// The provider of inline mode.
pub(crate) struct Inline {
    configuration: Configuration,
    gated: GatedModule,
}

impl Inline {
    /// Loads the real module and sets up gate and attester; nothing is forwarded yet. `limits` is what this process has
    /// counted so far.
    pub(crate) fn start(configuration: Configuration, limits: Limits) -> Result<Self, StartError> {
        let module = RealModule::load(&configuration.real_module.path, exports::own_address())?;
        let log = Log::of(&configuration.log.target);
        let place = Arc::new(AttestationPlace::new(&configuration.attestation, module)?);
        let surroundings = Surroundings { itself: own_file, step_away: instance::step_away };
        let attester = InlineAttester::new(&configuration, Arc::clone(&place), surroundings)?;
        let gated = GatedModule::new(place, configuration.gate.clone(), Box::new(attester), Box::new(log))
            .with_limits(limits);
        Ok(Self { configuration, gated })
    }

    /// What answers the calls.
    pub(crate) const fn gated(&self) -> &GatedModule {
        &self.gated
    }

    /// The interfaces that the application is told of.
    pub(crate) fn interfaces(&self) -> Vec<&'static Interface> {
        interfaces::in_front_of(self.gated.module(), &self.configuration)
    }

    /// Initialises the real module. In a forked child it may hold on to its copy of what the parent had initialised: then
    /// that goes first.
    pub(crate) fn initialize(&self, call: calls::C_Initialize, inherited: u8) -> CK_RV {
        let args = Some(self.configuration.real_module.init_args.as_str()).filter(|args| !args.is_empty());
        let Ok(reserved) = args.map(CString::new).transpose() else {
            return CKR_ARGUMENTS_BAD;
        };
        let initialize = || self.gated.initialize(call, reserved.as_deref());
        match (initialize(), inherited) {
            (CKR_CRYPTOKI_ALREADY_INITIALIZED, INITIALISED) => match self.gated.finalize_parents() {
                CKR_OK | CKR_CRYPTOKI_NOT_INITIALIZED => initialize(),
                rv => rv,
            },
            (CKR_CRYPTOKI_ALREADY_INITIALIZED, IN_USE) => {
                Log::of(&self.configuration.log.target).failed_to_start(&StartError::InUseAtFork);
                CKR_GENERAL_ERROR
            }
            (rv, _) => rv,
        }
    }
}

fn own_file(hashing: &Hashing<'_>) -> Result<MeasuredFile, MeasurementError> {
    measurement::measure_object(exports::own_address().cast(), hashing)
}
