//! Turns at a real module whose processes get in each other's way: whoever has a call write to the token is alone at it.
//!
//! Two files in memory that all workers have: record locks on them belong to a process and end with it, however that ends.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Condvar, PoisonError};

use cryptoki_ffi::Turns;
use locks::{Mutex, MutexGuard};
use pkcs11_table::{Class, Function};
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

/// The turns of one worker's threads. To the kernel they are one process, whose lock they share as far as they only read.
#[derive(Debug)]
pub(crate) struct WorkersTurns {
    places: Places,
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Threads in a call that only reads.
    reading: u32,
    /// A thread is in a call that writes, or waits for the other processes.
    is_alone: bool,
    /// Calls since the last one that has queued.
    overtaking: u32,
    /// Threads that wait for others to leave.
    waiting: u32,
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
        let state = State { reading: 0, is_alone: false, overtaking: 0, waiting: 0 };
        Self { places, state: Mutex::new(state), left: Condvar::new() }
    }

    fn wait_while(&self, is_kept: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        while is_kept(&state) {
            state.waiting += 1;
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        state
    }

    fn begin_reading(&self, function: Function) {
        // Other processes see one lock: as long as threads of this one hand it to each other, nobody can be alone.
        let mut state =
            self.wait_while(|state| state.is_alone || (state.reading > 0 && state.overtaking >= OVERTAKING));
        state.overtaking += 1;
        state.reading += 1;
        if state.reading > 1 {
            return;
        }
        let may_overtake = state.overtaking < OVERTAKING;
        if may_overtake && lock(&self.places.module, FlockOperation::NonBlockingLockShared).is_ok() {
            return;
        }
        state.overtaking = 0;
        // With the mutex locked: the other threads would wait at the same place.
        out_of_turn(function, self.places.take(FlockOperation::LockShared));
    }

    fn begin_alone(&self, function: Function) {
        let mut state = self.wait_while(|state| state.is_alone || state.reading > 0);
        state.is_alone = true;
        state.overtaking = 0;
        out_of_turn(function, self.places.take(FlockOperation::LockExclusive));
    }
}

impl Turns for WorkersTurns {
    fn begin(&self, function: Function) {
        match access(function) {
            Access::None => {}
            Access::Reads => self.begin_reading(function),
            Access::Writes => self.begin_alone(function),
        }
    }

    fn end(&self, function: Function) {
        let is_reading = match access(function) {
            Access::None => return,
            Access::Reads => true,
            Access::Writes => false,
        };
        let mut state = self.state.lock();
        if is_reading {
            state.reading = state.reading.saturating_sub(1);
        } else {
            state.is_alone = false;
        }
        if state.reading > 0 {
            return;
        }
        if let Err(error) = lock(&self.places.module, FlockOperation::Unlock) {
            tracing::error!(%error, "a turn at the real module cannot be given back");
        }
        // To tell nobody takes a system call, too.
        if state.waiting > 0 {
            self.left.notify_all();
        }
    }
}

fn out_of_turn(function: Function, taken: Result<(), Errno>) {
    if let Err(error) = taken {
        tracing::error!(%error, "{function} is called out of turn");
    }
}

/// What a call does with that of the token which is common to all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// It has to do with this process's memory alone, such as an operation that goes on.
    None,
    Reads,
    Writes,
}

/// What is not known to do less is taken for writing.
const fn access(function: Function) -> Access {
    use Function as F;
    match function.class() {
        Class::Continue(_) | Class::Dual(..) => return Access::None,
        Class::Begin(_) => return Access::Reads,
        _ => {}
    }
    match function {
        F::C_Digest
        | F::C_DigestFinal
        | F::C_DigestInit
        | F::C_DigestUpdate
        | F::C_FindObjects
        | F::C_FindObjectsFinal
        | F::C_GenerateRandom
        | F::C_GetInfo
        | F::C_GetMechanismInfo
        | F::C_GetMechanismList
        | F::C_GetSessionInfo
        | F::C_SeedRandom
        | F::C_SessionCancel => Access::None,
        F::C_CloseAllSessions
        | F::C_CloseSession
        | F::C_FindObjectsInit
        | F::C_GetAttributeValue
        | F::C_GetObjectSize
        | F::C_GetSlotInfo
        | F::C_GetSlotList
        | F::C_GetTokenInfo
        | F::C_OpenSession => Access::Reads,
        _ => Access::Writes,
    }
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

    /// What another thread gets to while this one is in `first`.
    fn meanwhile(first: Function, second: Function) -> bool {
        let turns = Arc::new(WorkersTurns::at(Places::new().unwrap()));
        turns.begin(first);
        let (told, tells) = channel();
        let other = Arc::clone(&turns);
        let thread = thread::spawn(move || {
            other.begin(second);
            told.send(()).unwrap();
            other.end(second);
        });
        let at_once = tells.recv_timeout(SOON).is_ok();
        turns.end(first);
        if !at_once {
            tells.recv_timeout(BOUND).unwrap();
        }
        thread.join().unwrap();
        at_once
    }

    #[test]
    fn threads_that_read_are_among_themselves_and_who_writes_is_alone() {
        use Function as F;
        assert!(meanwhile(F::C_SignInit, F::C_FindObjectsInit));
        assert!(meanwhile(F::C_Login, F::C_Sign) && meanwhile(F::C_Sign, F::C_Login));
        assert!(!meanwhile(F::C_SignInit, F::C_Login) && !meanwhile(F::C_Login, F::C_SignInit));
        assert!(!meanwhile(F::C_Login, F::C_Login));
    }

    #[test]
    fn readers_that_come_without_end_let_somebody_in_who_wants_to_be_alone() {
        let places = Places::new().unwrap();
        let turns = Arc::new(WorkersTurns::at(places));
        turns.begin(Function::C_SignInit);
        let (told, tells) = channel();
        let other = Arc::clone(&turns);
        let thread = thread::spawn(move || {
            for count in 0..u64::from(2 * OVERTAKING) {
                other.begin(Function::C_SignInit);
                told.send(count).unwrap();
                other.end(Function::C_SignInit);
            }
        });
        // Never without a reader: then no more than so many come in before all have left.
        let mut last = 0;
        while let Ok(count) = tells.recv_timeout(SOON) {
            last = count;
        }
        assert!(last < u64::from(OVERTAKING), "{last}");
        turns.end(Function::C_SignInit);
        thread.join().unwrap();
    }

    #[test]
    fn what_changes_the_token_is_done_alone() {
        for function in [Function::C_Login, Function::C_CreateObject, Function::C_GenerateKeyPair] {
            assert_eq!(access(function), Access::Writes, "{function}");
        }
        for function in Function::ALL {
            let name = function.name();
            let writes = ["Create", "Copy", "Destroy", "Generate", "Unwrap", "Derive", "Set", "Init", "Log"];
            let is_known = writes.iter().any(|prefix| name.starts_with(&format!("C_{prefix}")));
            assert!(!is_known || access(*function) == Access::Writes || name == "C_GenerateRandom", "{name}");
        }
    }
}
