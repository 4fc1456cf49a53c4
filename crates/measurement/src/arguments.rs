//! The process's arguments.
//!
//! From `/proc/PID/cmdline`, which is the process's own memory: a program that has rewritten its arguments
//! (setproctitle(3)) is measured with what it has written.

use crate::error::MeasurementError;
use crate::proc_file::ProcessDirectory;

const CMDLINE: &str = "cmdline";
/// All of them go into the evidence.
const LIMIT: usize = 128 * 1024;

/// The arguments as bytes, `argv[0]` included.
pub(crate) fn read(process: &ProcessDirectory) -> Result<Vec<Vec<u8>>, MeasurementError> {
    let cmdline = match process.read(CMDLINE, LIMIT as u64) {
        Err(MeasurementError::TooLarge { .. }) => {
            return Err(MeasurementError::ArgumentsTooLong { limit: LIMIT });
        }
        other => other?,
    };
    split(&cmdline).ok_or_else(|| MeasurementError::Malformed {
        path: process.path_of(CMDLINE),
        reason: "the process has no arguments",
    })
}

fn split(cmdline: &[u8]) -> Option<Vec<Vec<u8>>> {
    if cmdline.is_empty() {
        return None;
    }
    let body = cmdline.strip_suffix(b"\0").unwrap_or(cmdline);
    Some(body.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn the_arguments_are_this_programs() {
        let expected: Vec<Vec<u8>> =
            std::env::args_os().map(|argument| argument.as_bytes().to_vec()).collect();
        assert_eq!(read(&ProcessDirectory::own().unwrap()).unwrap(), expected);
    }

    #[test]
    fn empty_arguments_are_kept() {
        assert_eq!(split(b"a\0\0b\0\0").unwrap(), [&b"a"[..], b"", b"b", b""]);
        assert_eq!(split(b"\0").unwrap(), [b""]);
        assert_eq!(split(b"title without end").unwrap(), [b"title without end"]);
    }

    #[test]
    fn no_arguments_at_all_are_refused() {
        assert_eq!(split(b""), None);
    }
}
