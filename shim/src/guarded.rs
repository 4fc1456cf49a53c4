//! Guarded mode: every call goes to the guard, over connections that it has handed to this very process.

mod connection;
mod greeting;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use configuration::Client;
use cryptoki_ffi::Remote;
use cryptoki_ffi::{CK_RV, Interface, Layer, calls};
use cryptoki_sys::{CKR_CRYPTOKI_NOT_INITIALIZED, CKR_DEVICE_REMOVED, CKR_HOST_MEMORY};
use gated_module::Log;
use guard_wire::Crowd;
use locks::Mutex;

use crate::exports;
use connection::{Broken, Connection};
use greeting::{Admitted, More};

pub(crate) use greeting::Unreachable;

/// How long a thread waits for a connection where this process may have no more: until a call of another thread has ended.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(1);

/// The guard answers.
const SERVED: u8 = 0;
/// It does not any more, or not to this process.
const GONE: u8 = 1;
/// `C_Finalize` was called.
const FINALIZED: u8 = 2;

/// The provider of guarded mode.
pub(crate) struct Guarded {
    configuration: Client,
    admitted: Admitted,
    idle: Mutex<Vec<Connection>>,
    crowd: Arc<Crowd>,
    state: AtomicU8,
}

impl Guarded {
    /// Connects to the guard, which pins this process. There is no other way to the token: where that fails, nothing works.
    pub(crate) fn start(configuration: Client) -> Result<Self, Unreachable> {
        let (admitted, first) = Admitted::to(&configuration.socket)?;
        let crowd = Arc::default();
        let first = Connection::over(first, Arc::clone(&crowd)).map_err(Unreachable::of)?;
        if let Some(error) = first.unshared() {
            Log::of(&configuration.log.target).memory_is_not_shared(error);
        }
        Ok(Self {
            configuration,
            admitted,
            idle: Mutex::new(vec![first]),
            crowd,
            state: AtomicU8::new(SERVED),
        })
    }

    /// The versions of the function lists that a guard offers, for an application that has not initialised anything yet.
    pub(crate) fn versions(configuration: &Client) -> Result<Vec<(u8, u8)>, Unreachable> {
        greeting::ask(&configuration.socket)
    }

    /// The interfaces that the application is told of.
    pub(crate) fn interfaces(&self) -> Vec<&'static Interface> {
        cryptoki_ffi::offered_by_version(&exports::INTERFACES, self.admitted.interfaces())
    }

    /// Whether the guard, or the part of it that served this process, has ended: then this can be initialised anew.
    pub(crate) fn is_gone(&self) -> bool {
        self.state.load(Ordering::Acquire) == GONE
    }

    /// Answers a `C_GetInfo` of the lists of 3.x.
    pub(crate) fn newest_info(&self, call: calls::C_GetInfo) -> CK_RV {
        self.exchange(|connection| connection.newest_info(&call))
    }

    /// `C_Finalize`: what the guard has refused is delivered before this returns, and a call that waits for a slot event
    /// ends. Of a guard that has gone nothing is left to end.
    pub(crate) fn finalize(&self) {
        self.state.store(FINALIZED, Ordering::Release);
        self.admitted.leave();
        self.idle.lock().clear();
    }

    fn exchange(&self, exchange: impl FnOnce(&mut Connection) -> Result<CK_RV, Broken>) -> CK_RV {
        let mut connection = match self.connection() {
            Ok(connection) => connection,
            Err(rv) => return rv,
        };
        match exchange(&mut connection) {
            Ok(rv) => {
                self.idle.lock().push(connection);
                rv
            }
            Err(broken) => self.lost(&broken),
        }
    }

    /// The one that this thread has used last, if no other has taken it.
    fn idle_connection(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        match idle.iter().rposition(Connection::is_of_this_thread) {
            Some(own) => Some(idle.swap_remove(own)),
            None => idle.pop(),
        }
    }

    /// A connection that no other thread uses meanwhile.
    fn connection(&self) -> Result<Connection, CK_RV> {
        let began = Instant::now();
        loop {
            match self.state.load(Ordering::Acquire) {
                SERVED => {}
                GONE => return Err(CKR_DEVICE_REMOVED),
                _ => return Err(CKR_CRYPTOKI_NOT_INITIALIZED),
            }
            if let Some(connection) = self.idle_connection() {
                return Ok(connection);
            }
            match self.admitted.more() {
                Ok(More::Connection(handed)) => {
                    return Connection::over(handed, Arc::clone(&self.crowd))
                        .map_err(|error| self.lost(&error));
                }
                // Other threads have those that there are.
                Ok(More::NoMore) if began.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                Ok(More::NoMore) => return Err(CKR_HOST_MEMORY),
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    /// What is lost stays lost until the application initialises anew: sessions, logins and objects went with it.
    fn lost(&self, error: &dyn core::error::Error) -> CK_RV {
        match self.state.compare_exchange(SERVED, GONE, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Log::of(&self.configuration.log.target).guard_is_gone(error),
            Err(FINALIZED) => return CKR_CRYPTOKI_NOT_INITIALIZED,
            Err(_) => {}
        }
        CKR_DEVICE_REMOVED
    }
}

impl<C: Remote> Layer<C> for Guarded {
    fn call(&self, call: C) -> CK_RV {
        self.exchange(|connection| connection.call(&call, self.admitted.flat_mechanisms()))
    }
}
