//! A channel between two of the guard's own processes: messages as JSON, with descriptors beside them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use linux_ffi::socket::{self, Descriptors, MAX_DESCRIPTORS};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::GuardError;

/// Evidence of a process with thousands of mappings.
const MOST: usize = 16 << 20;
const LENGTH: usize = 4;

/// One end of it.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// A message, and what came with it.
#[derive(Debug)]
pub(crate) struct Message<T> {
    pub(crate) content: T,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Both ends of a new one.
    pub(crate) fn pair() -> Result<(Self, OwnedFd), GuardError> {
        let (ours, theirs) = socket::pair()?;
        Ok((Self(ours), theirs))
    }

    /// The end that was handed over.
    pub(crate) const fn of(end: OwnedFd) -> Self {
        Self(end)
    }

    /// The end that a role finds as its standard input.
    pub(crate) fn of_standard_input() -> Result<Self, GuardError> {
        let end = io::stdin().as_fd().try_clone_to_owned().map_err(GuardError::channel)?;
        Ok(Self(end))
    }

    /// Bounds each wait for the other side.
    pub(crate) fn wait_at_most(&self, time: Duration) -> Result<(), GuardError> {
        set_socket_timeout(&self.0, Timeout::Recv, Some(time))
            .map_err(|errno| GuardError::channel(errno.into()))
    }

    pub(crate) fn send(&self, message: &impl Serialize) -> Result<(), GuardError> {
        self.send_with(message, &[])
    }

    pub(crate) fn send_with(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), GuardError> {
        let mut bytes = vec![0; LENGTH];
        serde_json::to_writer(&mut bytes, message).map_err(|error| GuardError::channel(error.into()))?;
        let length = bytes.len() - LENGTH;
        let stated =
            u32::try_from(length).ok().filter(|_| length <= MOST).ok_or(GuardError::MessageTooLarge)?;
        if let Some(place) = bytes.first_chunk_mut::<LENGTH>() {
            *place = stated.to_le_bytes();
        }
        send_all(self.0.as_fd(), &bytes, descriptors)
    }

    /// The next message; `None` once the other side is gone.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> Result<Option<Message<T>>, GuardError> {
        let mut length = [0; LENGTH];
        let mut descriptors = Vec::new();
        if !self.fill(&mut length, &mut descriptors)? {
            return Ok(None);
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > MOST {
            return Err(GuardError::MessageTooLarge);
        }
        let mut bytes = vec![0; length];
        if !self.fill(&mut bytes, &mut descriptors)? {
            return Ok(None);
        }
        let content = serde_json::from_slice(&bytes).map_err(|error| GuardError::channel(error.into()))?;
        Ok(Some(Message { content, descriptors }))
    }

    /// The next message, which must come alone; `None` once the other side is gone.
    pub(crate) fn receive_alone<T: DeserializeOwned>(&self) -> Result<Option<T>, GuardError> {
        match self.receive()? {
            Some(message) if message.descriptors.is_empty() => Ok(Some(message.content)),
            Some(_) => Err(GuardError::OutOfPlace),
            None => Ok(None),
        }
    }

    /// A request and its answer, which comes alone.
    pub(crate) fn ask<T: DeserializeOwned>(&self, request: &impl Serialize) -> Result<T, GuardError> {
        self.send(request)?;
        self.answer()
    }

    /// The answer to a request.
    pub(crate) fn answer<T: DeserializeOwned>(&self) -> Result<T, GuardError> {
        self.receive()?.map(|message| message.content).ok_or(GuardError::OtherSideGone)
    }

    /// False at the end of the stream.
    fn fill(&self, mut place: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Result<bool, GuardError> {
        while !place.is_empty() {
            let received = socket::receive(self.0.as_fd(), place, Descriptors::Allowed)?;
            descriptors.extend(received.descriptors);
            if descriptors.len() > MAX_DESCRIPTORS {
                return Err(GuardError::OutOfPlace);
            }
            match place.get_mut(received.bytes..) {
                Some(rest) if received.bytes > 0 => place = rest,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends all of `bytes`, and `descriptors` with the first of them.
pub(crate) fn send_all(
    socket: BorrowedFd<'_>,
    mut bytes: &[u8],
    mut descriptors: &[BorrowedFd<'_>],
) -> Result<(), GuardError> {
    while !bytes.is_empty() {
        let sent = socket::send(socket, bytes, descriptors)?;
        bytes = bytes.get(sent..).unwrap_or_default();
        descriptors = &[];
    }
    Ok(())
}
