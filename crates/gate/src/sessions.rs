//! The application's sessions and the operations that run on them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use attestation::decision::DecisionId;
use parking_lot::{Mutex, MutexGuard, RwLock};
use pkcs11_table::Use;

use crate::authorize::KeyUse;

const SHARDS: usize = 16;

/// An operation that the real module has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pub(crate) key_use: KeyUse,
    pub(crate) recover: bool,
}

impl Running {
    /// The use that was begun.
    pub const fn used(&self) -> Use {
        self.key_use.begun()
    }

    /// Whether it is one of the recover functions.
    pub const fn recover(&self) -> bool {
        self.recover
    }
}

/// One session that the application has opened.
#[derive(Debug)]
pub struct Session {
    slot: u64,
    running: Mutex<HashMap<Use, Running>>,
    last_denial: AtomicU64,
}

impl Session {
    /// The slot it was opened on.
    pub const fn slot(&self) -> u64 {
        self.slot
    }

    /// The operations that run, at most one of a use. Held while a call that could change them is under way.
    pub fn running(&self) -> MutexGuard<'_, HashMap<Use, Running>> {
        self.running.lock()
    }

    /// Notes the last refusal, for `CK_SESSION_INFO.ulDeviceError`.
    pub fn note_denial(&self, id: DecisionId) {
        self.last_denial.store(id.number(), Ordering::Relaxed);
    }

    /// The number of the last refusal, 0 if there was none.
    pub fn last_denial(&self) -> u64 {
        self.last_denial.load(Ordering::Relaxed)
    }
}

/// All sessions of the application. Whatever is not in here is not the application's to use: the attester's own
/// sessions are not.
#[derive(Debug, Default)]
pub struct Sessions {
    shards: [RwLock<HashMap<u64, Arc<Session>>>; SHARDS],
}

impl Sessions {
    fn shard(&self, handle: u64) -> &RwLock<HashMap<u64, Arc<Session>>> {
        let [first, rest @ ..] = &self.shards;
        match handle.checked_rem(SHARDS as u64).and_then(|index| usize::try_from(index).ok()) {
            Some(index) if index > 0 => rest.get(index - 1).unwrap_or(first),
            _ => first,
        }
    }

    /// Takes in a session that the real module has opened on `slot`.
    pub fn opened(&self, handle: u64, slot: u64) {
        let session = Session { slot, running: Mutex::default(), last_denial: AtomicU64::new(0) };
        self.shard(handle).write().insert(handle, Arc::new(session));
    }

    /// The session of that handle, if the application opened it.
    pub fn get(&self, handle: u64) -> Option<Arc<Session>> {
        self.shard(handle).read().get(&handle).map(Arc::clone)
    }

    /// Forgets a session that was closed.
    pub fn closed(&self, handle: u64) {
        self.shard(handle).write().remove(&handle);
    }

    /// Forgets all sessions of a slot.
    pub fn all_closed(&self, slot: u64) {
        for shard in &self.shards {
            shard.write().retain(|_, session| session.slot != slot);
        }
    }

    /// Forgets everything, as `C_Finalize` does.
    pub fn clear(&self) {
        for shard in &self.shards {
            shard.write().clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_found_until_they_are_closed() {
        let sessions = Sessions::default();
        for handle in 0..64 {
            sessions.opened(handle, handle % 2);
        }
        assert!(
            (0..64).all(|handle| sessions.get(handle).is_some_and(|session| session.slot() == handle % 2))
        );
        sessions.closed(7);
        assert!(sessions.get(7).is_none());
        sessions.all_closed(0);
        assert!(sessions.get(8).is_none() && sessions.get(9).is_some());
        sessions.clear();
        assert!(sessions.get(9).is_none());
    }
}
