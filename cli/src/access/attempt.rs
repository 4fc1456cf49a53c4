//! One attempt to get at something, and how it ends. Nothing is changed by it, whoever makes it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Mode, OFlags, access, open};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

const STICKY: u32 = 0o1000;

/// What is tried, on what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// A path of this host.
    pub path: PathBuf,
    /// What is tried on it.
    pub how: How,
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// To put something else in its place, or to be its owner, who can.
    Change,
    /// To connect to a socket.
    Connect,
    /// To open it for reading.
    Read,
    /// To open it for writing; nothing is written.
    Write,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The kernel let it be done.
    Granted,
    /// The kernel refused, for want of a right.
    Refused,
    /// It failed otherwise, so that nobody knows.
    Unknown(String),
}

impl Attempt {
    /// To open `path` for reading.
    pub fn read(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), how: How::Read }
    }

    /// To open `path` for writing.
    pub fn write(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), how: How::Write }
    }

    /// To have something else at `path`.
    pub fn change(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), how: How::Change }
    }

    /// To connect to the socket `path`.
    pub fn connect(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), how: How::Connect }
    }

    /// Makes it, as the user that this process is.
    pub fn make(&self) -> Answer {
        match self.how {
            How::Change => changed(&self.path),
            How::Connect => answer(UnixStream::connect(&self.path).map(drop)),
            How::Read => opened(&self.path, OFlags::RDONLY),
            How::Write => opened(&self.path, OFlags::WRONLY),
        }
    }
}

fn opened(path: &Path, access: OFlags) -> Answer {
    // NONBLOCK: neither a pipe nor a device holds the others up.
    let flags = access | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    answer(open(path, flags, Mode::empty()).map(drop).map_err(io::Error::from))
}

fn answer(result: io::Result<()>) -> Answer {
    let Err(error) = result else { return Answer::Granted };
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        // NOENT: whoever asks has seen it, so that it is hidden from this user, as processes are by `hidepid`.
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NOENT) => Answer::Refused,
        // A program that runs: open(2) looks at the rights first.
        Some(Errno::TXTBSY) => Answer::Granted,
        _ => Answer::Unknown(error.to_string()),
    }
}

/// By its own mode and owner, and by those of each directory above it.
fn changed(path: &Path) -> Answer {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.uid() == geteuid().as_raw() => return Answer::Granted,
        Ok(metadata) if metadata.is_file() => match opened(path, OFlags::WRONLY) {
            Answer::Refused => {}
            other => return other,
        },
        Ok(_) => {}
        // Then some directory above may not be entered; those that may are looked at all the same.
        Err(error) => match answer(Err(error)) {
            Answer::Refused => {}
            other => return other,
        },
    }
    for entry in path.ancestors() {
        let Some(directory) = entry.parent() else { break };
        match is_exchangeable(entry, directory) {
            Ok(false) => {}
            Ok(true) => return Answer::Granted,
            Err(error) => match answer(Err(error)) {
                Answer::Refused => {}
                other => return other,
            },
        }
    }
    Answer::Refused
}

fn is_exchangeable(entry: &Path, directory: &Path) -> io::Result<bool> {
    let me = geteuid().as_raw();
    let metadata = fs::metadata(directory)?;
    if metadata.uid() == me {
        return Ok(true);
    }
    if access(directory, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return Ok(false);
    }
    // unlink(2): in a sticky directory only the owner's own entries.
    Ok(metadata.mode() & STICKY == 0 || fs::symlink_metadata(entry)?.uid() == me)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_can_be_done_is_granted_and_leaves_no_trace() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "content").unwrap();
        for attempt in [Attempt::read(&file), Attempt::write(&file), Attempt::change(&file)] {
            assert_eq!(attempt.make(), Answer::Granted, "{attempt:?}");
        }
        assert_eq!(Attempt::read(directory.path()).make(), Answer::Granted);
        assert_eq!(fs::read_to_string(&file).unwrap(), "content");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        let socket = directory.path().join("socket");
        assert_eq!(Attempt::connect(&socket).make(), Answer::Refused);
        let _listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(Attempt::connect(&socket).make(), Answer::Granted);
    }

    #[test]
    fn a_program_that_runs_is_not_taken_for_protected() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("sleep");
        fs::copy("/bin/sleep", &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = std::process::Command::new(&program).arg("60").spawn().unwrap();
        let answer = Attempt::write(&program).make();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(answer, Answer::Granted);
    }

    #[test]
    fn what_fails_otherwise_is_not_taken_for_refused() {
        let directory = tempfile::tempdir().unwrap();
        let circle = directory.path().join("circle");
        symlink("circle", &circle).unwrap();
        assert!(matches!(Attempt::read(&circle).make(), Answer::Unknown(_)));
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(Attempt::read(file.join("below")).make(), Answer::Unknown(_)));
        assert!(matches!(Attempt::connect(&file).make(), Answer::Unknown(_)));
    }
}
