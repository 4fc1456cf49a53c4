//! The measurer: reads what belongs to hostile processes, one at a time, so that the monitor can end it where that takes
//! too long.

use std::os::fd::OwnedFd;
use std::path::Path;

use attester::Budget;
use configuration::Guard;
use measurement::peer::{Confirmed, Measurement, Parts, Pinned};
use measurement::{DigestCache, Hashing, Request};

use crate::channel::{Channel, Message};
use crate::confinement;
use crate::error::GuardError;
use crate::messages::{FromMeasurer, Served, ToMeasurer};

/// Answers the monitor until it is gone.
pub(crate) fn run(config: &Path) -> Result<(), GuardError> {
    let guard = configuration::load_guard(config)?;
    confinement::of_measurer()?;
    let channel = Channel::of_standard_input()?;
    let digests = DigestCache::new();
    while let Some(Message { content, descriptors }) = channel.receive::<ToMeasurer>()? {
        let answer = match content {
            ToMeasurer::Confirm { pid, nonce, address } => pinned(pid, descriptors)
                .and_then(|pinned| Ok(pinned.confirm(address, nonce)?))
                .map(|confirmed| FromMeasurer::Confirmed(confirmed.image())),
            ToMeasurer::Measure { served, within_ms } => process(served, descriptors).and_then(|process| {
                let hashing = Budget::new(within_ms).bound(Hashing::cached(&digests));
                measure(&guard, &process, &hashing)
            }),
            ToMeasurer::Look { served, files } => process(served, descriptors)
                .and_then(|process| Ok(FromMeasurer::State(process.look(&files)?))),
        };
        channel.send(&answer.unwrap_or_else(|error| FromMeasurer::Failed { detail: error.to_string() }))?;
    }
    Ok(())
}

fn pinned(pid: u32, descriptors: Vec<OwnedFd>) -> Result<Pinned, GuardError> {
    let [pidfd, memory] = <[OwnedFd; 2]>::try_from(descriptors).map_err(|_| GuardError::OutOfPlace)?;
    Ok(Pinned::from_parts(Parts { pid, pidfd, memory })?)
}

fn process(served: Served, descriptors: Vec<OwnedFd>) -> Result<Confirmed, GuardError> {
    let [pidfd, memory] = <[OwnedFd; 2]>::try_from(descriptors).map_err(|_| GuardError::OutOfPlace)?;
    Ok(served.process(pidfd, memory)?)
}

fn measure(guard: &Guard, process: &Confirmed, hashing: &Hashing<'_>) -> Result<FromMeasurer, GuardError> {
    let declared = guard.declared(&process.executable()?);
    let request = Request { name: &guard.configuration.component.name, configuration: declared };
    let Measurement { component, state, watched } = process.measure(&request, hashing)?;
    Ok(FromMeasurer::Measured { component: Box::new(component), files: watched, state })
}
