//! Guarded mode: the same calls on the module itself, through a guard by shared memory, through one by its socket, and
//! through p11-kit remoting, which carries calls to another process and checks nothing.

mod idle;
mod report;
mod rows;
mod site;
mod start_up;

use std::fmt;
use std::path::Path;

use serde_json::Value;

use crate::error::BenchError;
use crate::rounds::Effort;
use crate::row::Row;
use idle::Idle;
use rows::Measurement;
use site::Site;
use start_up::StartUps;

pub use report::text;
pub use start_up::{Args as StartUpArgs, run as start_up};

/// The way to the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The module in the application's own process.
    Direct,
    /// The guard, by shared memory.
    Memory,
    /// The guard, by its socket.
    Socket,
    /// `p11-kit server`, by `p11-kit-client.so`.
    Remoting,
}

impl Way {
    /// All of them, in the order of the columns.
    pub const ALL: [Self; 4] = [Self::Direct, Self::Memory, Self::Socket, Self::Remoting];

    /// The name in the table and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Memory => "memory",
            Self::Socket => "socket",
            Self::Remoting => "remoting",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What of guarded mode is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A row of the table.
    Row(Row),
    /// What a guard costs that nobody calls.
    Idle,
    /// How long it takes until a new process can sign.
    StartUp,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Row(Row::SessionInfo),
        Self::Row(Row::Random),
        Self::Row(Row::Hmac),
        Self::Row(Row::Ecdsa),
        Self::Row(Row::Rsa),
        Self::Idle,
        Self::StartUp,
    ];

    /// What `--only` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Row(Row::SessionInfo) => "guarded-session-info",
            Self::Row(Row::Random) => "guarded-random",
            Self::Row(Row::Hmac) => "guarded-hmac",
            Self::Row(Row::Ecdsa) => "guarded-ecdsa",
            Self::Row(Row::Rsa) => "guarded-rsa",
            Self::Row(_) => "guarded-other",
            Self::Idle => "guarded-idle",
            Self::StartUp => "guarded-start-up",
        }
    }
}

/// What was measured.
pub struct Figures {
    measurements: Vec<Measurement>,
    idle: Option<Idle>,
    start_ups: Option<StartUps>,
}

impl Figures {
    /// For programs: times in nanoseconds.
    pub fn json(&self) -> Value {
        report::json(self)
    }
}

/// Measures these parts in the guarded sandbox in `directory`.
pub fn measure(directory: &Path, parts: &[Part], effort: Effort) -> Result<Figures, BenchError> {
    let site = Site::open(directory)?;
    let rows = parts.iter().filter_map(|part| match part {
        Part::Row(row) => Some(*row),
        Part::Idle | Part::StartUp => None,
    });
    let measurements = rows::measure(&site, &rows.collect::<Vec<_>>(), effort)?;
    let idle = if parts.contains(&Part::Idle) { Some(idle::measure(&site, effort)?) } else { None };
    let start_ups =
        if parts.contains(&Part::StartUp) { Some(start_up::measure(&site, effort)?) } else { None };
    Ok(Figures { measurements, idle, start_ups })
}
