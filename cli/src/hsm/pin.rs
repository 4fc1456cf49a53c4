//! The PIN of the attestation token: from its file or the terminal, wiped after use, never shown.

use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use cryptoki::types::RawAuthPin;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::error::CliError;
use crate::output;

/// PKCS#11 sets no limit; tokens take at most 255 bytes.
const LONGEST: usize = 255;
const OTHERS: u32 = 0o007;
const GROUP_WRITES: u32 = 0o020;

/// A PIN. Its memory is wiped when it is dropped.
pub struct Pin(RawAuthPin);

impl Pin {
    /// Reads the first line of the file, which only its owner and, for reading, its group may use.
    pub fn from_file(path: &Path) -> Result<Self, CliError> {
        let refuse = |why| CliError::Pin { path: path.to_owned(), why };
        let failed = |source| CliError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(refuse("is not a regular file"));
        }
        if metadata.mode() & OTHERS != 0 {
            return Err(refuse("may be used by everybody on this machine"));
        }
        if metadata.mode() & GROUP_WRITES != 0 {
            return Err(refuse("may be changed by its group"));
        }
        let line = first_line(file).map_err(failed)?.ok_or_else(|| refuse("does not hold one PIN"))?;
        Ok(Self::of(line))
    }

    /// Asks on the terminal, without echo.
    pub fn from_terminal(token: &str) -> Result<Self, CliError> {
        let path = Path::new("/dev/tty");
        let terminal = File::open(path).map_err(|_| CliError::NoPin { token: token.to_owned() })?;
        let _echo = NoEcho::on(&terminal).ok_or_else(|| CliError::NoPin { token: token.to_owned() })?;
        output::tell(&format!("User PIN of the token {token}: "));
        let line = first_line(&terminal);
        output::tell("\n");
        let line = line.map_err(|source| CliError::File { path: path.to_owned(), source })?;
        line.map(Self::of).ok_or_else(|| CliError::NoPin { token: token.to_owned() })
    }

    fn of(mut line: Zeroizing<Vec<u8>>) -> Self {
        Self(RawAuthPin::new(Box::new(mem::take(&mut line))))
    }

    /// What cryptoki takes.
    pub fn expose(&self) -> &RawAuthPin {
        &self.0
    }
}

/// The first line, where it is fit to be a PIN.
fn first_line(mut input: impl Read) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    // One allocation that never grows, and no buffered reader, so that no copy is left behind.
    let mut line = Zeroizing::new(vec![0; LONGEST + 2]);
    let mut filled = 0;
    let end = loop {
        if let Some(end) = line.iter().take(filled).position(|byte| *byte == b'\n') {
            break end;
        }
        match input.read(line.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => break filled,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    line.truncate(end);
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok((1..=LONGEST).contains(&line.len()).then_some(line))
}

/// Switches the echo of a terminal off, and on again when dropped.
struct NoEcho<'a> {
    terminal: &'a File,
    before: rustix::termios::Termios,
}

impl<'a> NoEcho<'a> {
    fn on(terminal: &'a File) -> Option<Self> {
        let before = tcgetattr(terminal).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &silent).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for NoEcho<'_> {
    fn drop(&mut self) {
        // The terminal may be gone by now; then there is no echo to restore.
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn read(content: &[u8], mode: u32) -> Result<Pin, CliError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pin");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Pin::from_file(&path)
    }

    #[test]
    fn one_line_with_or_without_its_end() {
        for content in [b"1234".as_slice(), b"1234\n", b"1234\r\n", b"1234\ncomment\n"] {
            assert_eq!(first_line(content).unwrap().unwrap().as_slice(), b"1234");
        }
        assert_eq!(first_line([b'1'; LONGEST].as_slice()).unwrap().unwrap().len(), LONGEST);
        assert!(read(b"1234\n", 0o600).is_ok());
        assert!(read(b"1234\n", 0o640).is_ok());
    }

    #[test]
    fn empty_long_and_open_files_are_refused() {
        for (content, mode) in [
            (b"".to_vec(), 0o600),
            (b"\n1234\n".to_vec(), 0o600),
            (vec![b'1'; LONGEST + 1], 0o600),
            (b"1234".to_vec(), 0o644),
            (b"1234".to_vec(), 0o601),
            (b"1234".to_vec(), 0o620),
        ] {
            assert!(matches!(read(&content, mode), Err(CliError::Pin { .. })), "{content:?} {mode:o}");
        }
    }

    #[test]
    fn the_debug_form_of_a_pin_does_not_show_it() {
        let pin = read(b"topsecret", 0o600).unwrap();
        assert!(!format!("{:?}", pin.expose()).contains("topsecret"));
    }
}
