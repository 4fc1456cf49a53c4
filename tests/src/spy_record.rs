//! The record that the spy token writes, read back.

use std::cell::OnceCell;
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
pub struct SpyRecord(Place);

enum Place {
    At(PathBuf),
    /// That of whichever worker serves a client.
    Worker {
        pattern: String,
        client: u32,
        found: OnceCell<PathBuf>,
    },
}

impl SpyRecord {
    /// The record in `path`, which need not exist yet.
    pub fn at(path: PathBuf) -> Self {
        Self(Place::At(path))
    }

    /// The record of the guard's worker that serves a client from its `C_Initialize` on: it is where `pattern` says, with the
    /// worker's process id for `%p`.
    pub fn of_worker(pattern: &Path, client: u32) -> Self {
        let pattern = pattern.to_str().expect("UTF-8").to_owned();
        Self(Place::Worker { pattern, client, found: OnceCell::new() })
    }

    /// Where it is, if that is known by now.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Place::At(path) => Some(path),
            Place::Worker { pattern, client, found } => {
                if found.get().is_none()
                    && let Some(worker) = worker_of(*client)
                {
                    let _ = found.set(pattern.replace("%p", &worker).into());
                }
                found.get().map(PathBuf::as_path)
            }
        }
    }

    /// How many lines it has by now; [`calls_since`](Self::calls_since) takes it.
    pub fn mark(&self) -> usize {
        self.lines().len()
    }

    /// Every call behind a mark.
    pub fn calls_since(&self, mark: usize) -> Vec<Call> {
        self.lines().iter().skip(mark).filter(|line| !line.starts_with('@')).map(|line| call(line)).collect()
    }

    /// The sessions that were opened on another slot than the attester's, where it has one here, in the whole record: a
    /// handle that was ever the application's counts as the application's.
    pub fn application_sessions(&self, attestation_slot: Option<u64>) -> BTreeSet<u64> {
        let opened = self.lines();
        opened
            .iter()
            .filter_map(|line| {
                let (session, slot) = line.strip_prefix("@ session ")?.split_once(" slot ")?;
                let numbers: (u64, u64) = (session.parse().expect("number"), slot.parse().expect("number"));
                (Some(numbers.1) != attestation_slot).then_some(numbers.0)
            })
            .collect()
    }

    fn lines(&self) -> Vec<String> {
        let text = self.path().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// The process id of the worker that serves a client: the one that was given a descriptor of its process.
fn worker_of(client: u32) -> Option<String> {
    let held = format!("Pid:\t{client}\n");
    fs::read_dir("/proc").expect("/proc").flatten().find_map(|process| {
        let command = fs::read(process.path().join("cmdline")).ok()?;
        if !command.starts_with(b"trustshim-guard\0worker\0") {
            return None;
        }
        let mut descriptors = fs::read_dir(process.path().join("fdinfo")).ok()?.flatten();
        descriptors
            .any(|descriptor| fs::read_to_string(descriptor.path()).is_ok_and(|text| text.contains(&held)))
            .then(|| process.file_name().into_string().expect("a number"))
    })
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
