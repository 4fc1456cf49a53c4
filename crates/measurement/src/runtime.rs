//! State of the process that the kernel reports: tracer, restrictions, dumpable.

use std::fs::File;
use std::io::{self, Read as _};

use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::error::MeasurementError;
use crate::proc_file::{open_proc, unreadable};

const TASKS: &str = "/proc/self/task";
const MAX_THREADS: usize = 1 << 16;
const MAX_STATUS: u64 = 64 * 1024;

/// What `/proc/self/task/*/status` says. These are properties of threads: the process counts as restricted where
/// all of its threads are, and as traced where one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) traced: bool,
    pub(crate) no_new_privs: bool,
    /// The weakest mode of all threads: 0 off, 1 strict, 2 filter.
    pub(crate) seccomp: u8,
}

impl Status {
    /// Reads the status of every thread that lives.
    pub(crate) fn read() -> Result<Self, MeasurementError> {
        let failed = |source: Errno| unreadable(TASKS, source.into());
        let tasks = open_proc(TASKS)?;
        let mut whole: Option<Self> = None;
        for (count, entry) in Dir::read_from(&tasks).map_err(failed)?.enumerate() {
            if count > MAX_THREADS {
                return Err(MeasurementError::TooMany { what: "threads", limit: MAX_THREADS });
            }
            let entry = entry.map_err(failed)?;
            let thread = entry.file_name().to_bytes();
            if thread.first() == Some(&b'.') {
                continue;
            }
            let name = [thread, b"/status"].concat();
            let content = match openat(&tasks, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(io::Error::from)
                .and_then(|file| content(file.into()))
            {
                Ok(content) => content,
                // The thread has ended; it does nothing any more.
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(unreadable(TASKS, error)),
            };
            let status = parse(&content)?;
            whole = Some(whole.map_or(status, |whole| whole.and(status)));
        }
        whole.ok_or(MeasurementError::Malformed { path: TASKS, reason: "the process has no thread" })
    }

    fn and(self, other: Self) -> Self {
        Self {
            traced: self.traced || other.traced,
            no_new_privs: self.no_new_privs && other.no_new_privs,
            seccomp: self.seccomp.min(other.seccomp),
        }
    }
}

fn content(file: File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(MAX_STATUS).read_to_end(&mut content)?;
    Ok(content)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::SRCH))
}

fn parse(status: &[u8]) -> Result<Status, MeasurementError> {
    Ok(Status {
        traced: number(status, b"TracerPid:")? != 0,
        no_new_privs: match number(status, b"NoNewPrivs:")? {
            0 => false,
            1 => true,
            _ => return Err(malformed()),
        },
        seccomp: u8::try_from(number(status, b"Seccomp:")?).map_err(|_| malformed())?,
    })
}

/// The value of the one line that begins with `key`.
fn number(status: &[u8], key: &[u8]) -> Result<u32, MeasurementError> {
    let mut values = status.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(key));
    match (values.next(), values.next()) {
        (Some(value), None) => core::str::from_utf8(value.trim_ascii())
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(malformed),
        _ => Err(malformed()),
    }
}

const fn malformed() -> MeasurementError {
    MeasurementError::Malformed {
        path: TASKS,
        reason: "a thread's status lacks TracerPid, NoNewPrivs or Seccomp, or they cannot be understood",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_lines_are_found() {
        let status =
            b"Name:\tTracerPid:\t9\nTracerPid:\t0\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let expected = Status { traced: false, no_new_privs: true, seccomp: 2 };
        assert_eq!(parse(status).unwrap(), expected);
    }

    #[test]
    fn a_missing_double_or_unreadable_line_is_refused() {
        for status in [
            "NoNewPrivs:\t0\nSeccomp:\t0\n",
            "TracerPid:\t0\nSeccomp:\t0\n",
            "TracerPid:\t0\nNoNewPrivs:\t0\n",
            "TracerPid:\t0\nTracerPid:\t1\nNoNewPrivs:\t0\nSeccomp:\t0\n",
            "TracerPid:\tnone\nNoNewPrivs:\t0\nSeccomp:\t0\n",
            "TracerPid:\t0\nNoNewPrivs:\t2\nSeccomp:\t0\n",
            "TracerPid:\t0\nNoNewPrivs:\t0\nSeccomp:\t256\n",
            "TracerPid:\t-1\nNoNewPrivs:\t0\nSeccomp:\t0\n",
        ] {
            assert!(matches!(parse(status.as_bytes()), Err(MeasurementError::Malformed { .. })), "{status}");
        }
    }

    #[test]
    fn a_process_is_as_restricted_as_its_freest_thread_and_traced_by_any() {
        let free = Status { traced: false, no_new_privs: false, seccomp: 0 };
        let bound = Status { traced: true, no_new_privs: true, seccomp: 2 };
        assert_eq!(free.and(bound), Status { traced: true, no_new_privs: false, seccomp: 0 });
        assert_eq!(bound.and(bound), bound);
    }
}
