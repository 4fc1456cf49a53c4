//! The process's arguments.
//!
//! From `/proc/self/cmdline`, which is the process's own memory: a program that has rewritten its arguments
//! (setproctitle(3)) is measured with what it has written.

use crate::error::MeasurementError;
use crate::proc_file::read_proc;

const CMDLINE: &str = "/proc/self/cmdline";
/// All of them go into the evidence.
const LIMIT: usize = 128 * 1024;

/// The arguments as bytes, `argv[0]` included.
pub(crate) fn read() -> Result<Vec<Vec<u8>>, MeasurementError> {
    let cmdline = match read_proc(CMDLINE, LIMIT as u64) {
        Err(MeasurementError::TooLarge { .. }) => {
            return Err(MeasurementError::ArgumentsTooLong { limit: LIMIT });
        }
        other => other?,
    };
    split(&cmdline)
}

fn split(cmdline: &[u8]) -> Result<Vec<Vec<u8>>, MeasurementError> {
    if cmdline.is_empty() {
        return Err(MeasurementError::Malformed { path: CMDLINE, reason: "the process has no arguments" });
    }
    let body = cmdline.strip_suffix(b"\0").unwrap_or(cmdline);
    Ok(body.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn the_arguments_are_this_programs() {
        let expected: Vec<Vec<u8>> =
            std::env::args_os().map(|argument| argument.as_bytes().to_vec()).collect();
        assert_eq!(read().unwrap(), expected);
    }

    #[test]
    fn empty_arguments_are_kept() {
        assert_eq!(split(b"a\0\0b\0\0").unwrap(), [&b"a"[..], b"", b"b", b""]);
        assert_eq!(split(b"\0").unwrap(), [b""]);
        assert_eq!(split(b"title without end").unwrap(), [b"title without end"]);
    }

    #[test]
    fn no_arguments_at_all_are_refused() {
        assert!(matches!(split(b""), Err(MeasurementError::Malformed { .. })));
    }
}
