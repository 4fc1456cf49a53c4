//! What was measured of one process: the `component` claims set of the evidence.
//!
//! Every string that comes from the process or the file system has passed [`crate::digest::escape`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::canonical_json;
use crate::digest::Digest;

/// Everything that is appraised about a process; the measurement digest covers all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// The component's name as the local configuration states it: a hint, never appraised as identity.
    /// `auto` where nothing is configured.
    pub name: String,
    /// On whose behalf the process runs.
    pub principal: Principal,
    /// The file that the kernel executed.
    pub executable: MeasuredFile,
    /// Every file that is mapped executable, the executable itself included; sorted by path, no duplicates.
    pub mappings: Vec<MeasuredFile>,
    /// Scripts that an interpreter was started with; sorted by path.
    pub scripts: Vec<MeasuredFile>,
    /// Configuration files that are declared for this component; sorted by path.
    pub configuration: Vec<MeasuredFile>,
    /// The process's arguments, `argv[0]` included.
    pub argv: Vec<String>,
    /// The environment variables that steer the loading of code, as far as they are set.
    pub environment: BTreeMap<String, String>,
    /// State of the running process.
    pub runtime: Runtime,
}

impl Component {
    /// The measurement digest: SHA-256 of the canonical JSON (RFC 8785) of every field except the name.
    ///
    /// Processes share a trust token only where it is equal.
    pub fn measurement_digest(&self) -> Digest {
        // Taken apart by name, so that a new field does not compile until it is counted here.
        let Self {
            name: _,
            principal,
            executable,
            mappings,
            scripts,
            configuration,
            argv,
            environment,
            runtime,
        } = self;
        let appraised = json!({
            "principal": principal,
            "executable": executable,
            "mappings": mappings,
            "scripts": scripts,
            "configuration": configuration,
            "argv": argv,
            "environment": environment,
            "runtime": runtime,
        });
        Digest::of(canonical_json::to_string(&appraised).as_bytes())
    }
}

/// A file with the digest of its whole content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredFile {
    /// Absolute path as the kernel shows it, escaped.
    pub path: String,
    /// SHA-256 of the content.
    pub sha256: Digest,
    /// The ELF build id in lower-case hexadecimal, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
}

/// User, group and place of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// The systemd service whose control group holds the process, such as `nginx.service`; of a user's own services
    /// this is `user@UID.service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Whether the process is in the initial user namespace.
    pub initial_user_namespace: bool,
    /// Whether the process is in the initial PID namespace.
    pub initial_pid_namespace: bool,
}

/// State of a running process that bears on whether its code is what its files say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// A tracer (debugger) is attached.
    pub traced: bool,
    /// `PR_SET_NO_NEW_PRIVS` is set.
    pub no_new_privs: bool,
    /// Seccomp mode: 0 off, 1 strict, 2 filter.
    pub seccomp: u8,
    /// How many seccomp filters are installed, of the thread that has the most. Which ones does not show.
    pub seccomp_filters: u32,
    /// Other processes of the same user may read and change the memory of this one (`PR_GET_DUMPABLE`).
    pub dumpable: bool,
    /// Executable mappings without a file behind them.
    pub anonymous_executable: u32,
    /// Executable mappings of files that have been deleted.
    pub deleted_executable: u32,
    /// Executable mappings of memory files (`memfd_create`).
    pub memfd_executable: u32,
    /// Executable mappings that are writable at the same time.
    pub writable_executable: u32,
    /// Pages of executable file mappings whose content has been replaced by a private copy.
    pub modified_text_pages: u64,
}
