//! Turns at a module that several processes cannot use at once: while one of them logs in or initialises, SoftHSM 2.6 has
//! the others find an empty token.

use std::env;
use std::fs::{File, OpenOptions};
use std::sync::{Mutex, MutexGuard, PoisonError};

static ONE_THREAD: Mutex<()> = Mutex::new(());

/// The turn of a call; given back when dropped.
pub struct Turn {
    _file: File,
    _thread: MutexGuard<'static, ()>,
}

/// Waits for the turn of a call, where `SPY_TURNS` names a file for that.
pub fn wait() -> Option<Turn> {
    let path = env::var_os("SPY_TURNS")?;
    let thread = ONE_THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    let file = OpenOptions::new().read(true).open(path);
    // Without, nothing would be shown: then the process ends here.
    let taken = file.and_then(|file| file.lock().map(|()| file));
    match taken {
        Ok(file) => Some(Turn { _file: file, _thread: thread }),
        Err(_) => std::process::abort(),
    }
}
