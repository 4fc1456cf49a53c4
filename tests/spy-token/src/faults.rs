//! What befalls a process whose module has a fault.

use std::env;
use std::thread;
use std::time::Duration;

/// Longer than any test waits.
const FOR_EVER: Duration = Duration::from_secs(600);

/// Does to this process what the environment says of calls of `function`.
pub fn befall(function: &str) {
    let is_named = |variable: &str| env::var(variable).is_ok_and(|named| named == function);
    if is_named("SPY_CRASH") {
        let nowhere = core::ptr::null_mut::<u8>().wrapping_add(8);
        // SAFETY: this is the fault: nothing is mapped there, and the process ends.
        unsafe { nowhere.write_volatile(0) };
    }
    if is_named("SPY_STALL") {
        thread::sleep(FOR_EVER);
    }
}
