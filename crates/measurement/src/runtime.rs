//! State of the process that the kernel reports: tracer, restrictions, user and group.

use std::fs::File;
use std::io::{self, Read as _};

use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::error::MeasurementError;
use crate::proc_file::{ProcessDirectory, unreadable};

const TASKS: &str = "task";
const MAX_THREADS: usize = 1 << 16;
const MAX_STATUS: u64 = 64 * 1024;
/// `SECCOMP_MODE_FILTER`.
const FILTER: u8 = 2;

/// What `/proc/PID/task/*/status` says. These are properties of threads: the process counts as restricted where
/// all of its threads are, and as traced or filtered where one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) traced: bool,
    pub(crate) no_new_privs: bool,
    /// The weakest mode of all threads: 0 off, 1 strict, 2 filter.
    pub(crate) seccomp: u8,
    /// The most filters of any thread: who filters one thread's system calls can answer them.
    pub(crate) seccomp_filters: u32,
    /// The one user and group as which all threads act in every respect; nothing where they differ.
    pub(crate) acts_as: Option<Ids>,
}

/// A user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Status {
    /// Reads the status of every thread that lives.
    pub(crate) fn read(process: &ProcessDirectory) -> Result<Self, MeasurementError> {
        let path = || process.path_of(TASKS);
        let failed = |source: Errno| unreadable(&path(), source.into());
        let tasks = process.open(TASKS)?;
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
                Err(error) => return Err(unreadable(&path(), error)),
            };
            let status = parse(&content)
                .ok_or_else(|| MeasurementError::Malformed { path: path(), reason: INCOMPLETE })?;
            whole = Some(whole.map_or(status, |whole| whole.and(status)));
        }
        whole.ok_or_else(|| MeasurementError::Malformed { path: path(), reason: "the process has no thread" })
    }

    fn and(self, other: Self) -> Self {
        Self {
            traced: self.traced || other.traced,
            no_new_privs: self.no_new_privs && other.no_new_privs,
            seccomp: self.seccomp.min(other.seccomp),
            seccomp_filters: self.seccomp_filters.max(other.seccomp_filters),
            acts_as: self.acts_as.filter(|ids| other.acts_as == Some(*ids)),
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

const INCOMPLETE: &str = "a thread's status lacks TracerPid, NoNewPrivs, Seccomp, Seccomp_filters (Linux 5.9), Uid or Gid, or they cannot be understood";

fn parse(status: &[u8]) -> Option<Status> {
    let user = [ids(status, b"Uid:")?, ids(status, b"Gid:")?];
    let seccomp = u8::try_from(number(status, b"Seccomp:")?).ok()?;
    Some(Status {
        traced: number(status, b"TracerPid:")? != 0,
        no_new_privs: match number(status, b"NoNewPrivs:")? {
            0 => false,
            1 => true,
            _ => return None,
        },
        seccomp,
        seccomp_filters: filters(status, seccomp)?,
        acts_as: match user.map(one) {
            [Some(uid), Some(gid)] => Some(Ids { uid, gid }),
            _ => None,
        },
    })
}

/// Kernels before 5.9 do not count filters: there none are none only where the mode says so, too.
fn filters(status: &[u8], seccomp: u8) -> Option<u32> {
    const KEY: &[u8] = b"Seccomp_filters:";
    let is_counted = status.split(|byte| *byte == b'\n').any(|line| line.starts_with(KEY));
    if is_counted || seccomp == FILTER { number(status, KEY) } else { Some(0) }
}

/// The value of the one line that begins with `key`.
fn value<'a>(status: &'a [u8], key: &[u8]) -> Option<&'a str> {
    let mut values = status.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(key));
    match (values.next(), values.next()) {
        (Some(value), None) => core::str::from_utf8(value.trim_ascii()).ok(),
        _ => None,
    }
}

fn number(status: &[u8], key: &[u8]) -> Option<u32> {
    value(status, key)?.parse().ok()
}

/// The real, effective, saved and file system id.
fn ids(status: &[u8], key: &[u8]) -> Option<[u32; 4]> {
    let mut numbers = value(status, key)?.split('\t').map(|number| number.parse().ok());
    let four = [numbers.next()??, numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some(four)
}

fn one([real, effective, saved, file_system]: [u32; 4]) -> Option<u32> {
    (real == effective && saved == effective && file_system == effective).then_some(effective)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: &str = "Uid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\n";
    const IDS: Ids = Ids { uid: 7, gid: 8 };

    fn parsed(status: &str) -> Option<Status> {
        parse(format!("{ALONE}{status}").as_bytes())
    }

    #[test]
    fn the_lines_are_found() {
        let status =
            "Name:\tTracerPid:\t9\nTracerPid:\t0\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";
        let expected =
            Status { traced: false, no_new_privs: true, seccomp: 2, seccomp_filters: 3, acts_as: Some(IDS) };
        assert_eq!(parsed(status).unwrap(), expected);
    }

    #[test]
    fn filters_that_are_not_counted_are_none_only_where_the_mode_says_so() {
        let counted = |rest: &str| {
            let status = parsed(&format!("TracerPid:\t0\nNoNewPrivs:\t0\n{rest}"));
            status.map(|status| status.seccomp_filters)
        };
        for (rest, expected) in [
            ("Seccomp:\t0\n", Some(0)),
            ("Seccomp:\t1\n", Some(0)),
            ("Seccomp:\t2\n", None),
            ("Seccomp:\t0\nSeccomp_filters:\t0\n", Some(0)),
            ("Seccomp:\t2\nSeccomp_filters:\t21\n", Some(21)),
            ("Seccomp:\t2\nSeccomp_filters:\tmany\n", None),
            ("Seccomp:\t0\nSeccomp_filters:\t-1\n", None),
            ("Seccomp:\t0\nSeccomp_filters:\t0\nSeccomp_filters:\t1\n", None),
        ] {
            assert_eq!(counted(rest), expected, "{rest}");
        }
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
            assert_eq!(parsed(status), None, "{status}");
        }
        let rest = "TracerPid:\t0\nNoNewPrivs:\t0\nSeccomp:\t0\n";
        assert!(parsed(rest).is_some());
        for ids in [
            "",
            "Uid:\t7\t7\t7\t7\n",
            "Uid:\t7\t7\t7\nGid:\t8\t8\t8\t8\n",
            "Uid:\t7\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\n",
            "Uid:\t7\t7\t7\tx\nGid:\t8\t8\t8\t8\n",
        ] {
            assert_eq!(parse(format!("{ids}{rest}").as_bytes()), None, "{ids}");
        }
    }

    #[test]
    fn who_acts_in_two_ways_acts_as_nobody() {
        let rest = "TracerPid:\t0\nNoNewPrivs:\t0\nSeccomp:\t0\n";
        for position in 0..4 {
            for key in ["Uid", "Gid"] {
                let mut numbers = ["7"; 4];
                numbers[position] = "0";
                let other = if key == "Uid" { "Gid" } else { "Uid" };
                let ids = format!("{key}:\t{}\n{other}:\t7\t7\t7\t7\n", numbers.join("\t"));
                assert_eq!(parse(format!("{ids}{rest}").as_bytes()).unwrap().acts_as, None, "{ids}");
            }
        }
    }

    #[test]
    fn a_process_is_as_restricted_as_its_freest_thread_and_traced_and_filtered_as_any() {
        let free =
            Status { traced: false, no_new_privs: false, seccomp: 0, seccomp_filters: 0, acts_as: Some(IDS) };
        let bound =
            Status { traced: true, no_new_privs: true, seccomp: 2, seccomp_filters: 2, acts_as: Some(IDS) };
        let both = Status { no_new_privs: false, seccomp: 0, ..bound };
        assert_eq!(free.and(bound), both, "what one thread's filters answer counts for the process");
        assert_eq!(bound.and(free), both);
        assert_eq!(bound.and(bound), bound);
        let root = Status { acts_as: Some(Ids { uid: 0, gid: 8 }), ..free };
        assert_eq!(free.and(root).acts_as, None);
        assert_eq!(Status { acts_as: None, ..free }.and(free).acts_as, None);
    }
}
