//! A PIN in a file, read anew each time so that it stays in memory only while it is needed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The file of a PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinFile(PathBuf);

impl PinFile {
    /// That of this path.
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The PIN, without the line's end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut pin = Zeroizing::new(fs::read(&self.0)?);
        while pin.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            pin.pop();
        }
        Ok(pin)
    }
}
