//! The clock that deadlines of trust tokens are counted on.

use core::mem::MaybeUninit;

use crate::error::LinuxError;

/// Milliseconds since boot, suspended time included (`CLOCK_BOOTTIME`); nobody can set this clock back.
///
/// # Errors
/// [`LinuxError::Call`] where the kernel refuses, [`LinuxError::Range`] for a time that cannot be.
pub fn boottime_ms() -> Result<u64, LinuxError> {
    const CALL: &str = "clock_gettime";
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is valid for the write of one `timespec`, which is all that the call does with it.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, time.as_mut_ptr()) };
    if status != 0 {
        return Err(LinuxError::last(CALL));
    }
    // SAFETY: the call succeeded and has therefore written the whole structure.
    let time = unsafe { time.assume_init() };
    let seconds = u64::try_from(time.tv_sec).map_err(|_| LinuxError::Range { call: CALL })?;
    let nanoseconds = u64::try_from(time.tv_nsec).map_err(|_| LinuxError::Range { call: CALL })?;
    seconds
        .checked_mul(1000)
        .and_then(|ms| ms.checked_add(nanoseconds / 1_000_000))
        .ok_or(LinuxError::Range { call: CALL })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;
    use std::time::Duration;

    #[test]
    fn counts_milliseconds_since_boot() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime_s: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let start = boottime_ms().unwrap();
        assert!((start as f64 / 1000.0 - uptime_s).abs() < 5.0, "{start} ms, but up {uptime_s} s");
        sleep(Duration::from_millis(20));
        let passed = boottime_ms().unwrap() - start;
        assert!((20..5_000).contains(&passed), "{passed} ms");
    }
}
