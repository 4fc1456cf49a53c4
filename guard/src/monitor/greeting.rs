//! Whoever connects: who it is, and whether it becomes a client.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptoki_sys::{CK_RV, CKR_GENERAL_ERROR, CKR_HOST_MEMORY};
use guard_wire::{Control, NONCE};
use linux_ffi::socket;
use measurement::peer::{Connected, Pinned};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::Monitor;
use super::admission::Admitted;
use super::client::Client;
use super::pace::TooFast;
use super::watched::Watched;
use crate::error::GuardError;
use crate::frames;
use crate::messages::{FromMeasurer, Served, ToMeasurer};

/// How long whoever connects may take to become a client, and a client to say something that it has begun to say.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Serves whoever has connected.
pub(super) fn serve(monitor: &Arc<Monitor>, stream: &OwnedFd) {
    if let Err(error) = greet(monitor, stream) {
        tracing::warn!(%error, "a client's connection was closed");
    }
}

fn greet(monitor: &Arc<Monitor>, stream: &OwnedFd) -> Result<(), GuardError> {
    let until = Instant::now() + PATIENCE;
    set_socket_timeout(stream, Timeout::Send, Some(PATIENCE))
        .map_err(|errno| GuardError::channel(errno.into()))?;
    socket::ask_for_sender(stream.as_fd())?;
    let connected = or_turn_away(stream, Connected::of(stream.as_fd()).map_err(GuardError::from))?;
    let credentials = connected.credentials();
    // Before it counts: users of another user namespace are as many as one user likes.
    let pinned = or_turn_away(stream, connected.pin().map_err(GuardError::from))?;
    let Some(admitted) = monitor.admission.admit(credentials) else {
        return turn_away(stream, CKR_HOST_MEMORY, "the guard serves as many processes as it may");
    };
    let admitted = Arc::new(admitted);
    let (pid, nonce) = (pinned.pid(), nonce()?);
    frames::send(stream, &Control::Challenge { nonce }, &[])?;
    match frames::receive(stream, pid, until)? {
        Some(Control::Ask) => {
            frames::send(stream, &Control::Offer { interfaces: monitor.workers.interfaces() }, &[])
        }
        Some(Control::Placed { address }) => {
            if !is_at_its_pace(monitor, admitted.uid(), stream)? {
                return Ok(());
            }
            let served = or_turn_away(stream, confirm(monitor, (&pinned, &admitted), nonce, address))?;
            let process = pinned.confirmed_as(served.address, served.nonce, served.image);
            Client::start(monitor, Watched::new(served, process, admitted), stream)?.attend(stream)
        }
        Some(_) => Err(GuardError::OutOfPlace),
        None => Ok(()),
    }
}

/// Waits as long as the user's processes come faster than they may; false where it goes no further, and that has been said.
fn is_at_its_pace(monitor: &Monitor, uid: u32, stream: &OwnedFd) -> Result<bool, GuardError> {
    match monitor.pace.admit(uid, Instant::now()) {
        Ok(begin) => stays_until(stream, begin),
        Err(TooFast { said }) => {
            if let Some(refused) = said {
                tracing::warn!(uid, refused, "a user's processes come faster than [guard.limits] allows");
            }
            turn_away(
                stream,
                CKR_HOST_MEMORY,
                "processes of this user come faster than the guard lets them in",
            )?;
            Ok(false)
        }
    }
}

/// Whether whoever has connected is still there then.
fn stays_until(stream: &OwnedFd, then: Instant) -> Result<bool, GuardError> {
    loop {
        let left = then.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(true);
        }
        let failed = |errno: rustix::io::Errno| GuardError::channel(errno.into());
        let left = Timespec::try_from(left).map_err(|_| failed(rustix::io::Errno::RANGE))?;
        match poll(&mut [PollFd::new(stream, PollFlags::RDHUP)], Some(&left)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(false),
            Err(errno) => return Err(failed(errno)),
        }
    }
}

/// Has a measurer look for the nonce: what is in the memory of whoever connects may make the one who reads it wait.
fn confirm(
    monitor: &Monitor,
    (pinned, admitted): (&Pinned, &Arc<Admitted>),
    nonce: [u8; NONCE],
    address: u64,
) -> Result<Served, GuardError> {
    let pid = pinned.pid();
    let request = || ToMeasurer::Confirm { pid, nonce, address };
    match monitor.measurers.ask(request, &[pinned.pidfd(), pinned.memory()], admitted)? {
        FromMeasurer::Confirmed(image) => Ok(Served { pid, nonce, address, image }),
        FromMeasurer::Failed { detail } => Err(GuardError::NotConfirmed { detail }),
        FromMeasurer::Measured { .. } | FromMeasurer::State(_) => Err(GuardError::OutOfPlace),
    }
}

fn or_turn_away<T>(stream: &OwnedFd, result: Result<T, GuardError>) -> Result<T, GuardError> {
    if let Err(error) = &result {
        turn_away(stream, CKR_GENERAL_ERROR, &error.to_string())?;
    }
    result
}

/// Tells whoever has connected that it does not become a client, or gets no more than it has.
pub(super) fn turn_away(stream: &OwnedFd, code: CK_RV, reason: &str) -> Result<(), GuardError> {
    frames::send(stream, &Control::Turned { code, reason: reason.to_owned() }, &[])
}

fn nonce() -> Result<[u8; NONCE], GuardError> {
    let mut nonce = [0; NONCE];
    rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| GuardError::channel(errno.into()))?;
    Ok(nonce)
}
