//! How much the guard serves at once, and what its processes may take: the `max_…` of `[guard]`, and `[guard.limits]`.

use serde::Deserialize;

use super::Checker;
use crate::error::ConfigurationError;
use crate::guard::GuardLimits;

const DEFAULT_PROCESSES: u32 = 512;
const DEFAULT_PROCESSES_PER_USER: u32 = 256;
const DEFAULT_CONNECTIONS: u32 = 64;
const DEFAULT_SESSIONS: u32 = 1024;

/// Large frames of a process at once, one call that is as large as may be with the module's copies of it, and the module.
const BASE_MIB: u32 = 256;
/// What a connection has in any case: the stack of its thread.
const CONNECTION_MIB: u32 = 2;
/// Several such calls at once.
const DEFAULT_MORE_MIB: u32 = 640;
const MOST_MIB: u32 = 1 << 20;

/// As many as one user may have served at once by default.
const DEFAULT_STARTS_AT_ONCE: u32 = 256;
/// Each costs the guard about 8 ms of a processor: no user takes a whole one with it.
const DEFAULT_STARTS_PER_SECOND: u32 = 100;

/// `[guard.limits]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsTable {
    worker_memory_mib: Option<u32>,
    starts_at_once: Option<u32>,
    starts_per_second: Option<u32>,
}

/// All of them, as the file has them.
pub(super) struct Most {
    pub(super) processes: Option<u32>,
    pub(super) processes_per_user: Option<u32>,
    pub(super) connections: Option<u32>,
    pub(super) sessions: Option<u32>,
    pub(super) others: LimitsTable,
}

impl Checker {
    pub(super) fn limits(&self, most: &Most) -> Result<GuardLimits, ConfigurationError> {
        let processes = most.processes.unwrap_or(DEFAULT_PROCESSES);
        self.require(
            (1..=65_536).contains(&processes),
            "guard.max_processes",
            "must be between 1 and 65536",
        )?;
        let processes_per_user =
            most.processes_per_user.unwrap_or_else(|| DEFAULT_PROCESSES_PER_USER.min(processes));
        self.require(
            (1..=processes).contains(&processes_per_user),
            "guard.max_processes_per_user",
            "must be between 1 and `guard.max_processes`",
        )?;
        let connections = most.connections.unwrap_or(DEFAULT_CONNECTIONS);
        self.require(
            (1..=4_096).contains(&connections),
            "guard.max_connections",
            "must be between 1 and 4096",
        )?;
        let sessions = most.sessions.unwrap_or(DEFAULT_SESSIONS);
        self.require(
            (1..=1_048_576).contains(&sessions),
            "guard.max_sessions",
            "must be between 1 and 1048576",
        )?;
        let memory = self.worker_memory(most.others.worker_memory_mib, connections)?;
        let starts_at_once = most.others.starts_at_once.unwrap_or(DEFAULT_STARTS_AT_ONCE);
        self.require(
            (1..=65_536).contains(&starts_at_once),
            "guard.limits.starts_at_once",
            "must be between 1 and 65536",
        )?;
        let starts_per_second = most.others.starts_per_second.unwrap_or(DEFAULT_STARTS_PER_SECOND);
        self.require(
            (1..=65_536).contains(&starts_per_second),
            "guard.limits.starts_per_second",
            "must be between 1 and 65536",
        )?;
        Ok(GuardLimits {
            processes,
            processes_per_user,
            connections,
            sessions,
            memory,
            starts_at_once,
            starts_per_second,
        })
    }

    fn worker_memory(&self, mib: Option<u32>, connections: u32) -> Result<u64, ConfigurationError> {
        let least = BASE_MIB + CONNECTION_MIB * connections;
        let mib = mib.unwrap_or(least + DEFAULT_MORE_MIB);
        self.require(
            (least..=MOST_MIB).contains(&mib),
            "guard.limits.worker_memory_mib",
            "must be between 256 with 2 for each of `guard.max_connections`, and 1048576",
        )?;
        Ok(u64::from(mib) << 20)
    }
}
