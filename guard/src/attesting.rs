//! The attester: holds the attestation key's PIN, signs what was measured, and asks the policy server.

use std::path::Path;
use std::sync::Arc;

use attestation::component::MeasuredFile;
use attester::{Budget, Signer, Surroundings};
use gated_module::AttestationPlace;
use measurement::{Hashing, MeasurementError};

use crate::channel::{Channel, Message};
use crate::confinement;
use crate::error::GuardError;
use crate::messages::{FromAttester, ToAttester};
use crate::module;

/// Answers the monitor until it is gone.
pub(crate) fn run(config: &Path) -> Result<(), GuardError> {
    let guard = configuration::load_guard(config)?;
    let settings = &guard.configuration.attestation;
    let pin_file = settings.pin_file.as_deref().map(confinement::pin_file).transpose()?;
    confinement::become_user(guard.attester_user.as_ref(), "attester_user")?;
    confinement::limit_memory_and_descriptors(&guard)?;
    let channel = Channel::of_standard_input()?;
    let module = module::initialized(&guard.configuration, None)?;
    let place = AttestationPlace::new(settings, module)?;
    let place = Arc::new(match pin_file {
        Some(pin_file) => place.with_pin_file(pin_file),
        None => place,
    });
    let surroundings = Surroundings { itself: program, step_away: || None };
    let signer = Signer::new(&guard.configuration, place, surroundings)?;
    while let Some(Message { content, .. }) = channel.receive::<ToAttester>()? {
        let answer = match content {
            ToAttester::Attest { component, report, within_ms } => {
                FromAttester::Attested(signer.attest(report, &Budget::new(within_ms), || Ok(*component)))
            }
            ToAttester::Key => FromAttester::Key(signer.hsm_id()),
        };
        channel.send(&answer)?;
    }
    Ok(())
}

/// This program, by the file that it runs from: that of all roles is the same.
fn program(hashing: &Hashing<'_>) -> Result<MeasuredFile, MeasurementError> {
    measurement::measure_object(run as *const (), hashing)
}
