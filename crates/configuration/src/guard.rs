//! The settings of guarded mode, checked: those of the guard, and what is left for an application to know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use attestation::digest::Digest;

use crate::settings::{Configuration, Log};

/// The configuration of an application whose calls a guard answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The file it was read from, as an absolute path.
    pub path: PathBuf,
    /// SHA-256 of exactly the bytes that it was read from.
    pub digest: Digest,
    /// The guard's socket.
    pub socket: PathBuf,
    /// The vendor's module, in whose place the shim answers an application that has preloaded it. It is the guard's to load.
    pub stands_for: Option<PathBuf>,
    /// `[log]`.
    pub log: Log,
}

/// The guard's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// What it has in common with an application's in inline mode. The attester has a PIN of its own, no trust token is
    /// handed in by a file, there are no vendors' interfaces, and the component is `auto`: its files are those of
    /// `declared`.
    pub configuration: Configuration,
    /// What the real module needs beyond files; sorted, no duplicates.
    pub needs: Vec<Need>,
    /// `[[declared]]`; sorted by executable, one entry for each.
    pub declared: Vec<Declared>,
    /// Where applications connect; fits into a socket's address.
    pub socket: PathBuf,
    /// Who may connect, by the socket's group; absent where that is the guard's own.
    pub group: Option<Account>,
    /// How calls reach it.
    pub transport: Transport,
    /// Who logs in to the application's token.
    pub login: Login,
    /// Whom the processes run as that answer calls; absent where that is the guard's own user.
    pub worker_user: Option<Account>,
    /// Whom the process runs as that attests; absent where that is the guard's own user.
    pub attester_user: Option<Account>,
    /// Variables of those processes that answer calls, which the real module looks at: at most 32, and none that steers
    /// the loading of code.
    pub worker_environment: BTreeMap<String, String>,
    /// The same of the process that attests.
    pub attester_environment: BTreeMap<String, String>,
    /// How much it serves at once.
    pub limits: GuardLimits,
}

/// What gates on this host, for those who look after it.
#[derive(Clone, Debug, PartialEq, Eq)]
// There is one, and it is read once.
#[allow(clippy::large_enum_variant)]
pub enum Installation {
    /// The shim, in each application's process.
    Inline(Configuration),
    /// The guard.
    Guarded(Guard),
}

impl Installation {
    /// What both have in common.
    pub const fn configuration(&self) -> &Configuration {
        match self {
            Self::Inline(configuration) => configuration,
            Self::Guarded(guard) => &guard.configuration,
        }
    }

    /// As [`configuration`](Self::configuration), by value.
    pub fn into_configuration(self) -> Configuration {
        match self {
            Self::Inline(configuration) => configuration,
            Self::Guarded(guard) => guard.configuration,
        }
    }

    /// The configuration files that are measured with the program `executable`.
    pub fn declared(&self, executable: &Path) -> &[PathBuf] {
        match self {
            Self::Inline(configuration) => &configuration.component.files,
            Self::Guarded(guard) => guard.declared(executable),
        }
    }
}

impl Guard {
    /// The configuration files that are measured with the program `executable`.
    pub fn declared(&self, executable: &Path) -> &[PathBuf] {
        let declared = self.declared.iter().find(|declared| declared.executable == executable);
        declared.map_or(&[], |declared| &declared.files)
    }
}

/// What the real module needs to work for several processes, beyond files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The network.
    Network,
    /// Turns: no process is in a call while another is in one that writes. SoftHSM's processes do not keep apart what they
    /// write to the token at every login.
    Turns,
}

/// The configuration files of a program, which are measured with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The program, by its path without symbolic links, as the kernel tells it of a process.
    pub executable: PathBuf,
    /// The files; sorted, no duplicates, at least one.
    pub files: Vec<PathBuf>,
}

/// How calls reach the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By memory that is shared with each thread of a client, beside a socket.
    SharedMemory,
    /// By the socket alone.
    Socket,
}

/// Who logs in to the application's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// The application, with its own PIN.
    PassThrough,
    /// The guard, for an application that has passed.
    Guard {
        /// The PIN.
        pin_file: PathBuf,
        /// What the applications of a component must give in its place, by the component's name.
        component_pins: BTreeMap<String, PathBuf>,
    },
}

/// A user or group of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// By its name.
    Name(String),
    /// By its number; never that which means "no change" to the kernel.
    Number(u32),
}

/// How much the guard serves at once; none is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardLimits {
    /// Processes.
    pub processes: u32,
    /// Processes of one user; not more than `processes`.
    pub processes_per_user: u32,
    /// Connections of one process.
    pub connections: u32,
    /// Sessions of one process.
    pub sessions: u32,
    /// Bytes of memory that the process which serves one may have for itself.
    pub memory: u64,
    /// Processes of one user that may come at once.
    pub starts_at_once: u32,
    /// And how many more in each second after that.
    pub starts_per_second: u32,
}
