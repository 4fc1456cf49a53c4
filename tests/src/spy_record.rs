//! The record that the spy token writes, read back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// One call that reached the spy.
#[derive(Clone, Debug)]
pub struct Call {
    /// The C name.
    pub function: String,
    arguments: BTreeMap<String, String>,
}

impl Call {
    /// A number among the arguments.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.arguments.get(name)?.parse().ok()
    }

    /// The attribute types of a template, as `0x11,0x12`.
    pub fn template(&self) -> Option<&str> {
        self.arguments.get("template").map(String::as_str)
    }
}

/// The record of one process.
pub struct SpyRecord {
    path: PathBuf,
}

impl SpyRecord {
    /// The record in `path`, which need not exist yet.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many lines it has by now; [`calls_since`](Self::calls_since) takes it.
    pub fn mark(&self) -> usize {
        self.lines().len()
    }

    /// Every call behind a mark.
    pub fn calls_since(&self, mark: usize) -> Vec<Call> {
        self.lines().iter().skip(mark).filter(|line| !line.starts_with('@')).map(|line| call(line)).collect()
    }

    /// The sessions that were opened on another slot than `attestation_slot`, in the whole record: a handle that was
    /// ever the application's counts as the application's.
    pub fn application_sessions(&self, attestation_slot: u64) -> BTreeSet<u64> {
        let opened = self.lines();
        opened
            .iter()
            .filter_map(|line| {
                let (session, slot) = line.strip_prefix("@ session ")?.split_once(" slot ")?;
                let numbers: (u64, u64) = (session.parse().expect("number"), slot.parse().expect("number"));
                (numbers.1 != attestation_slot).then_some(numbers.0)
            })
            .collect()
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.path).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

fn call(line: &str) -> Call {
    let mut words = line.split(' ');
    let function = words.next().expect("a name").to_owned();
    let arguments = words
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Call { function, arguments }
}
