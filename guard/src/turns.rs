//! Turns at a real module whose processes get in each other's way: whoever has a call write there is alone in it.
//!
//! Two files in memory that all workers have: record locks on them belong to a process and end with it, however that ends.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Condvar, PoisonError};

use cryptoki_ffi::Turns;
use locks::Mutex;
use pkcs11_table::Function;
use rustix::fs::{FlockOperation, MemfdFlags, fcntl_lock, memfd_create};
use rustix::io::Errno;

use crate::error::GuardError;

/// What the monitor gives to each worker.
#[derive(Debug)]
pub(crate) struct Places {
    /// Waited at by whoever is next: who wants to be alone is not overtaken for ever.
    queue: OwnedFd,
    /// Held during a call.
    module: OwnedFd,
}

/// The turns of one worker's threads, which are never in the module at once.
#[derive(Debug)]
pub(crate) struct WorkersTurns {
    places: Places,
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_taken: bool,
    /// Calls since the last one that has queued.
    overtaking: u32,
}

/// So many calls that only read may go before somebody who waits to be alone: queueing takes as long as the lock itself.
const OVERTAKING: u32 = 16;

impl Places {
    /// New ones.
    pub(crate) fn new() -> Result<Self, GuardError> {
        let place = || {
            let made = memfd_create("trustshim-turns", MemfdFlags::CLOEXEC);
            made.map_err(|errno| GuardError::channel(errno.into()))
        };
        Ok(Self { queue: place()?, module: place()? })
    }

    /// Those that came from the monitor.
    pub(crate) fn of([queue, module]: [OwnedFd; 2]) -> Self {
        Self { queue, module }
    }

    /// To be sent to a worker.
    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.queue.as_fd(), self.module.as_fd()]
    }

    fn take(&self, how: FlockOperation) -> Result<(), Errno> {
        lock(&self.queue, FlockOperation::LockExclusive)?;
        let taken = lock(&self.module, how);
        lock(&self.queue, FlockOperation::Unlock)?;
        taken
    }
}

fn lock(place: &OwnedFd, how: FlockOperation) -> Result<(), Errno> {
    loop {
        match fcntl_lock(place, how) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

impl WorkersTurns {
    /// At these places.
    pub(crate) const fn at(places: Places) -> Self {
        let state = State { is_taken: false, overtaking: 0 };
        Self { places, state: Mutex::new(state), left: Condvar::new() }
    }
}

impl Turns for WorkersTurns {
    fn begin(&self, function: Function) {
        let mut state = self.state.lock();
        while state.is_taken {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_taken = true;
        let how = match only_reads(function) {
            true => FlockOperation::LockShared,
            false => FlockOperation::LockExclusive,
        };
        if how == FlockOperation::LockShared && state.overtaking < OVERTAKING {
            state.overtaking += 1;
            if lock(&self.places.module, FlockOperation::NonBlockingLockShared).is_ok() {
                return;
            }
        }
        state.overtaking = 0;
        // With the mutex locked: the threads of this process wait for each other in any case.
        if let Err(error) = self.places.take(how) {
            tracing::error!(%error, "{function} is called out of turn");
        }
    }

    fn end(&self) {
        let mut state = self.state.lock();
        if let Err(error) = lock(&self.places.module, FlockOperation::Unlock) {
            tracing::error!(%error, "a turn at the real module cannot be given back");
        }
        state.is_taken = false;
        self.left.notify_one();
    }
}

/// Functions that have the token as it was. Whatever else there is counts as writing.
const fn only_reads(function: Function) -> bool {
    use Function as F;
    matches!(
        function,
        F::C_GetInfo
            | F::C_GetSlotList
            | F::C_GetSlotInfo
            | F::C_GetTokenInfo
            | F::C_GetMechanismList
            | F::C_GetMechanismInfo
            | F::C_OpenSession
            | F::C_CloseSession
            | F::C_CloseAllSessions
            | F::C_GetSessionInfo
            | F::C_GetAttributeValue
            | F::C_FindObjectsInit
            | F::C_FindObjects
            | F::C_FindObjectsFinal
            | F::C_EncryptInit
            | F::C_Encrypt
            | F::C_EncryptUpdate
            | F::C_EncryptFinal
            | F::C_DecryptInit
            | F::C_Decrypt
            | F::C_DecryptUpdate
            | F::C_DecryptFinal
            | F::C_DigestInit
            | F::C_Digest
            | F::C_DigestUpdate
            | F::C_DigestFinal
            | F::C_SignInit
            | F::C_Sign
            | F::C_SignUpdate
            | F::C_SignFinal
            | F::C_VerifyInit
            | F::C_Verify
            | F::C_VerifyUpdate
            | F::C_VerifyFinal
            | F::C_GenerateRandom
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_millis(100);
    const BOUND: Duration = Duration::from_secs(20);

    #[test]
    fn threads_come_one_after_the_other() {
        let turns = Arc::new(WorkersTurns::at(Places::new().unwrap()));
        turns.begin(Function::C_Sign);
        let (told, tells) = channel();
        let other = Arc::clone(&turns);
        let second = thread::spawn(move || {
            other.begin(Function::C_Sign);
            told.send(()).unwrap();
            other.end();
        });
        tells.recv_timeout(SOON).unwrap_err();
        turns.end();
        tells.recv_timeout(BOUND).unwrap();
        second.join().unwrap();
    }

    #[test]
    fn what_changes_the_token_is_done_alone() {
        for function in [Function::C_Login, Function::C_CreateObject, Function::C_GenerateKeyPair] {
            assert!(!only_reads(function), "{function}");
        }
        for function in Function::ALL {
            let name = function.name();
            let writes = ["Create", "Copy", "Destroy", "Generate", "Unwrap", "Derive", "Set", "Init", "Log"];
            let is_known = writes.iter().any(|prefix| name.starts_with(&format!("C_{prefix}")));
            assert!(!(is_known && only_reads(*function)) || name == "C_GenerateRandom", "{name}");
        }
    }
}
