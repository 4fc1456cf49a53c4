//! A PIN in a file, read anew each time so that it stays in memory only while it is needed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// More than any PIN: PKCS#11 states no bound, tokens do.
const MOST: usize = 4096;

/// The file of a PIN.
#[derive(Debug)]
pub struct PinFile {
    path: PathBuf,
    /// Where this process may not open it any more.
    opened: Option<File>,
}

impl PinFile {
    /// That of this path, opened each time.
    pub const fn new(path: PathBuf) -> Self {
        Self { path, opened: None }
    }

    /// The same, opened once: for a process that is about to give up the right to. A file that is put in its place
    /// afterwards is not seen.
    ///
    /// # Errors
    /// The file cannot be opened, or not be read.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let opened = Some(File::open(&path)?);
        let file = Self { path, opened };
        file.read()?;
        Ok(file)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The PIN, without the line's end.
    ///
    /// # Errors
    /// The file cannot be read, or is too large for one.
    pub fn read(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let opened = self.opened.as_ref().map_or_else(|| File::open(&self.path), File::try_clone)?;
        // All at once, so that no part of it is left behind where the memory grows.
        let mut pin = Zeroizing::new(vec![0; MOST + 1]);
        let mut length = 0;
        while let Some(room) = pin.get_mut(length..).filter(|room| !room.is_empty()) {
            match opened.read_at(room, length as u64)? {
                0 => break,
                more => length += more,
            }
        }
        if length > MOST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large for a PIN"));
        }
        pin.truncate(length);
        while pin.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            pin.pop();
        }
        Ok(pin)
    }
}

/// The PIN of the token's user, and those that components have in its place.
#[derive(Debug)]
pub struct Pins {
    token: PinFile,
    components: BTreeMap<String, PinFile>,
}

impl Pins {
    /// A component that is not named may say what it likes for a PIN.
    pub const fn new(token: PinFile, components: BTreeMap<String, PinFile>) -> Self {
        Self { token, components }
    }

    /// The token's PIN for a component, where the application's is the one that the component has, if it has one.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn for_component(
        &self,
        component: &str,
        is_the_applications: impl FnOnce(&[u8]) -> bool,
    ) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let is_right = match self.components.get(component) {
            Some(file) => is_the_applications(&file.read()?),
            None => true,
        };
        if is_right { self.token.read().map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn written(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pin");
        fs::write(&path, content).unwrap();
        (directory, path)
    }

    #[test]
    fn the_lines_end_is_no_part_of_a_pin() {
        for content in [&b"12 34"[..], b"12 34\n", b"12 34\r\n"] {
            let (_directory, path) = written(content);
            assert_eq!(PinFile::new(path.clone()).read().unwrap().as_slice(), b"12 34");
            let opened = PinFile::open(path).unwrap();
            assert_eq!(opened.read().unwrap().as_slice(), b"12 34");
            assert_eq!(opened.read().unwrap().as_slice(), b"12 34", "as often as it is needed");
        }
    }

    #[test]
    fn one_that_was_opened_is_read_though_it_could_not_be_opened_any_more() {
        let (_directory, path) = written(b"1234");
        let opened = PinFile::open(path.clone()).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(opened.read().unwrap().as_slice(), b"1234");
        assert!(PinFile::new(path.clone()).read().is_err() && PinFile::open(path).is_err());
    }

    #[test]
    fn what_is_too_large_for_a_pin_is_none() {
        let (_directory, path) = written(&[b'1'; MOST]);
        assert_eq!(PinFile::new(path).read().unwrap().len(), MOST);
        let (_directory, path) = written(&[b'1'; MOST + 1]);
        assert!(PinFile::new(path.clone()).read().is_err() && PinFile::open(path).is_err());
    }

    #[test]
    fn a_component_with_a_pin_of_its_own_must_give_it() {
        let (_directory, token) = written(b"token's");
        let (_other, nginx) = written(b"nginx's\n");
        let components = BTreeMap::from([("nginx".to_owned(), PinFile::new(nginx))]);
        let pins = Pins::new(PinFile::new(token), components);
        let with = |component, given: &[u8]| {
            pins.for_component(component, |pin| pin == given).unwrap().map(|pin| pin.to_vec())
        };
        assert_eq!(with("nginx", b"nginx's").as_deref(), Some(&b"token's"[..]));
        assert_eq!(with("nginx", b"token's"), None);
        assert_eq!(with("other", b"anything").as_deref(), Some(&b"token's"[..]));
    }
}
